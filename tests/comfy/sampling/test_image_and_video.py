"""From an image to a clip and back, with the checkpoint that the project makes itself."""

import comfy.model_management
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.decode import CHUNK, decode_clip
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.errors import InputError

FRAMES = CHUNK + 3


@pytest.fixture(scope="module", params=["temporal", "image"])
def parts(request, drawn):
    with torch.inference_mode():
        return load_bundle(str(drawn), "default", request.param)


@pytest.fixture
def vae(parts):
    with torch.inference_mode():
        yield parts[2]


@pytest.fixture(scope="module")
def latents():
    return torch.randn(FRAMES, 4, 4, 6, generator=torch.Generator().manual_seed(0))


def prompt(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def image(height=40, width=70, channels=3, batch=1):
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(1))


def test_image_to_video(parts):
    """Loader, text, conditioning, sampler, decoder: what the workflow does, in one process."""
    with torch.inference_mode():
        model, clip, vae = parts
        positive, negative, samples = condition_clip(prompt(clip, "waves"), prompt(clip, ""), vae, image(), ClipSize(48, 32, 5), Motion(9))
        assert samples.shape == (5, 4, 4, 6)
        frames, _ = sample_clip(model, positive, negative, {"samples": samples}, Sampling(0, 2, 7.5, "ddim", "cinemo_ddim"))
        video = decode_clip(vae, frames["samples"])
        assert video.shape == (5, 32, 48, 3)
        assert video.min() >= 0 and video.max() <= 1 and video.isfinite().all()
        assert (video[1:] - video[:1]).abs().mean() > 0.01


def test_the_negative_moves_alike_or_by_a_bucket_of_its_own(vae):
    """Its id stands whatever gives the positive's, the bucket or the number itself."""
    words = [[torch.zeros(1, 77, 8), {}]]

    def ids(*motion) -> list[float]:
        return [
            entry[0][1][CLIP_KEY].motion_id
            for entry in condition_clip(words, words, vae, image(), ClipSize(48, 32, 3), Motion(*motion))[:2]
        ]

    assert ids(9) == ids(9, -1.0, -1) == [90, 90]
    assert ids(9, -1.0, 0) == [90, 99]
    assert ids(9, 42.0) == [42, 42]
    assert ids(9, 42.0, 19) == [42, 80]
    with pytest.raises(InputError, match="The motion bucket is 20; choose a whole number from 0"):
        ids(9, -1.0, 20)


def test_guidance_leads_away_from_the_motion_of_the_negative(parts):
    """A step is linear in what the network says: guided = negative + cfg * (positive - negative), each by its own motion id."""
    with torch.inference_mode():
        model, clip, vae = parts
        wave, nothing = prompt(clip, "waves"), prompt(clip, "")

        def residual(positive_text, buckets: tuple[int, int], cfg: float) -> torch.Tensor:
            positive, negative, samples = condition_clip(
                positive_text, nothing, vae, image(), ClipSize(48, 32, 5, "cover"), Motion(buckets[0], negative=buckets[1])
            )
            return sample_clip(model, positive, negative, {"samples": samples}, Sampling(0, 1, cfg, "ddim", "cinemo_ddim"))[1]["samples"]

        moving, still = residual(wave, (15, -1), 1.0), residual(nothing, (0, -1), 1.0)
        expected = still + 1.4 * (moving - still)
        missed, alike = ((residual(wave, (15, bucket), 1.4) - expected).square().mean().sqrt() for bucket in (0, -1))
        assert missed < 0.05 * alike


def test_of_a_batch_the_first_image_counts_and_alpha_is_dropped(vae):
    rgb = image()
    alpha = torch.cat([rgb, torch.rand(1, 40, 70, 1)], dim=-1)
    batch = torch.cat([rgb, torch.rand(2, 40, 70, 3)])
    expected = condition_clip([], [], vae, rgb, ClipSize(48, 32, 3), Motion(0))[2]
    for same in (alpha, batch):
        torch.testing.assert_close(condition_clip([], [], vae, same, ClipSize(48, 32, 3), Motion(0))[2], expected, rtol=0, atol=1e-5)


def test_every_part_of_a_conditioning_gets_the_clip(vae):
    """Combined, per-area and timed conditionings pass through with what they carry."""
    text = torch.zeros(1, 77, 64)
    parts = [[text, {"area": (1, 1, 0, 0)}], [text, {"start_percent": 0.5}]]
    positive, negative, samples = condition_clip(parts, parts[:1], vae, image(), ClipSize(48, 32, 3), Motion(4))
    assert [set(options) - {CLIP_KEY} for _, options in positive] == [{"area"}, {"start_percent"}]
    clip = negative[0][1][CLIP_KEY]
    assert (clip.motion_id, clip.frames) == (95.0, 3)
    assert torch.equal(clip.z0, samples[:1])
    assert condition_clip(parts, parts, vae, image(), ClipSize(48, 32, 3), Motion(4, raw_id=25.0))[0][0][1][CLIP_KEY].motion_id == 25.0
    assert CLIP_KEY not in parts[0][1]  # the input is left alone


def test_decoding_does_not_depend_on_free_memory(vae, latents, monkeypatch):
    expected = decode_clip(vae, latents)
    assert expected.shape == (FRAMES, 32, 48, 3)
    monkeypatch.setattr(type(vae.patcher), "get_free_memory", lambda self, device: 1)
    torch.testing.assert_close(decode_clip(vae, latents), expected, rtol=0, atol=1e-5)


def test_a_temporal_decoder_sees_the_references_chunks(drawn, latents):
    with torch.inference_mode():
        vae = load_bundle(str(drawn), "default", "temporal")[2]
        comfy.model_management.load_models_gpu([vae.patcher])
        decode = vae.first_stage_model.decode
        chunks = torch.cat([decode(latents[:CHUNK]), decode(latents[CHUNK:])])
        expected = ((chunks + 1) / 2).clamp(0, 1).movedim(1, -1)
        found = decode_clip(vae, latents)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        together = ((decode(latents) + 1) / 2).clamp(0, 1).movedim(1, -1)
        assert (found - together).abs().max() > 1e-3  # the chunking matters


def test_decoding_shows_its_progress(vae, latents, monkeypatch):
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **kwargs: seen.append((value, total)))
    try:
        decode_clip(vae, latents)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    values = [value for value, _ in seen]
    assert {total for _, total in seen} == {FRAMES} and values[-1] == FRAMES and values == sorted(values)
    assert any(0 < value < CHUNK for value in values) and any(CHUNK <= value < FRAMES for value in values)


def test_out_of_memory_falls_back_to_tiles(vae, latents, monkeypatch, caplog):
    expected = decode_clip(vae, latents[:2])
    decode, failed = vae.first_stage_model.decode, []

    def fail_once(samples, **kwargs):
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("not enough")
        return decode(samples, **kwargs)

    monkeypatch.setattr(vae.first_stage_model, "decode", fail_once)
    out = decode_clip(vae, latents[:2])
    assert failed and out.shape == expected.shape and out.isfinite().all()
    assert "memory" in caplog.text.lower()


def test_interrupt_while_decoding(vae, latents):
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        decode_clip(vae, latents)
    assert decode_clip(vae, latents[:2]).isfinite().all()
