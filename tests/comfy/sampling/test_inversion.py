"""Cinemo Invert Video against recorded inversions of the authors' code, the way back, and motion transfer."""

import comfy.latent_formats
import comfy.model_management
import comfy.utils
import latent_preview
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import ClipCondition, Motion, attach_clip, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.inversion import Inversion, InvertedNoise, Source, invert_video
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.decode import decode_clip
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod
from cinemo_pack.cinemo_core.models.cinemo.unet import CinemoUNet
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.tests.goldens import load, meta
from scipy.fft import dctn

from .conftest import random_clip, relative_rms
from .test_reference import stub_noise

SCALE = comfy.latent_formats.SD15().scale_factor
SIZE = {"width": 48, "height": 32}


def plain(text: torch.Tensor) -> list:
    return [[text, {}]]


def invert(model, samples, text, steps=2, cfg=1.0, motion_id=8.0, negative=None, check=False):
    """Inverted noise of unscaled latents [f, 4, h, w], with the LATENT and the report."""
    negative = text if negative is None else negative
    latent = {"samples": samples}
    size, motion = ClipSize(512, 320, samples.shape[0]), Motion(0, raw_id=motion_id)
    return invert_video(model, plain(text), plain(negative), Source(latent=latent), size, motion, Inversion(steps, cfg, check))


def moving(clip) -> torch.Tensor:
    """A clip whose frames differ, with the first frame of `clip`."""
    return clip.samples + torch.randn(clip.samples.shape, generator=torch.Generator().manual_seed(9))


def still(samples: torch.Tensor) -> dict:
    return {"samples": samples[:1].repeat(samples.shape[0], 1, 1, 1)}


def prompt(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def recorded(golden: dict, name: str) -> torch.Tensor:
    return golden[name][0].transpose(0, 1)  # 1 c f h w -> f c h w


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("inv10", 1e-4), ("inv10_odd", 1e-4), ("inv50", 1e-4), ("inv10_cfg", 1e-3)],  # the floor of the last is 20 times the others'
)
def test_recorded_inversions(model, name, tolerance):
    golden = {key.removeprefix(f"{name}."): value for key, value in load("ddim_inversion").items() if key.startswith(f"{name}.")}
    facts = meta("ddim_inversion")["runs"][name]
    samples = recorded(golden, "video_latents") / SCALE
    noise, clip, _ = invert(
        model,
        samples,
        golden["prompt_embeds"],
        facts["steps"],
        facts["guidance_scale"],
        facts["motion_bucket_id"],
        golden.get("negative_embeds"),
    )
    assert torch.equal(clip["samples"], samples)
    found = noise.generate_noise(clip)
    assert not found[:1].any()
    error = relative_rms(found[1:], recorded(golden, "inverted"))
    print(f"{name}: relative RMS {error:.1e}, recorded rounding floor {facts['float32_vs_float64_same_code']['rel_rms']:.1e}")
    assert error <= tolerance


@pytest.mark.parametrize("name", ["stub10", "stub25", "stub50", "stub50_g1"])
def test_recorded_inversions_with_an_analytic_predictor(model, monkeypatch, name):
    monkeypatch.setattr(CinemoUNet, "forward", stub_noise)
    golden = {key.removeprefix(f"{name}."): value for key, value in load("ddim").items() if key.startswith(f"{name}.")}
    facts = meta("ddim")["runs"][name]
    z0 = recorded(golden, "base_content")
    samples = torch.cat([z0, z0 + recorded(golden, "inversion_input")]) / SCALE
    noise, clip, _ = invert(model, samples, golden["prompt_embeds"], facts["steps"], motion_id=facts["motion_bucket_id"])
    assert relative_rms(noise.generate_noise(clip)[1:], recorded(golden, "inversion_output")) <= 2e-6


def damp(factor):
    """A patch that makes the network's noise prediction smaller, hence smoother: an untrained one is chaotic."""

    def wrapper(apply_model, args):
        frames = args["input"]
        return frames + factor * (apply_model(frames, args["timestep"], **args["c"]) - frames)

    return wrapper


def returned_error(report: str) -> float:
    return float(report.rstrip(".").rsplit(" ", 1)[1])


def test_more_steps_bring_the_clip_back_more_closely(model, caplog):
    """With the network, its prediction damped."""
    model.set_model_unet_function_wrapper(damp(0.02))
    clip = random_clip(3, 4, 5)
    errors = []
    for steps in (6, 24):
        with caplog.at_level("INFO"):
            report = invert(model, moving(clip), clip.positive[0][0], steps, check=True)[2]
        assert report in caplog.text and f" {steps} steps" in report
        errors.append(returned_error(report))
    print("relative error of the motion that comes back, at 6 and 24 steps:", errors)
    assert errors[1] < 0.5 * errors[0] and errors[1] < 0.05


def smooth_noise(self, x, timesteps, context, motion_ids, control=None, transformer_options={}):
    """An analytic noise predictor in place of the network, smooth in the residual and in time."""
    x = x.unflatten(0, (motion_ids.shape[0], -1))  # b f c h w, frame 0 is z0
    r = x - x[:, :1]
    t = timesteps[:: x.shape[1]].view(-1, 1, 1, 1, 1)
    return (0.9 * (t / 1000) * r + 0.1 * torch.tanh(r)).flatten(0, 1)


def test_the_error_falls_with_the_step_length(model, clip, monkeypatch):
    monkeypatch.setattr(CinemoUNet, "forward", smooth_noise)
    samples, text = moving(clip), clip.positive[0][0]
    errors = []
    for steps in (10, 40, 160):
        noise, latent, report = invert(model, samples, text, steps, check=True)
        errors.append(returned_error(report))
    print("relative error of the motion that comes back, at 10, 40 and 160 steps:", errors)
    assert errors[1] < 0.3 * errors[0] and errors[2] < 0.3 * errors[1] and errors[2] < 0.05

    # what the node prints is what a person gets who connects its noise to the sampler
    conditioning = attach_clip(ClipCondition(samples[:1], 8.0, 5), plain(text))[0]
    frames, residual = sample_clip(
        model, conditioning, conditioning, still(samples), Sampling(0, 160, 1.0, "ddim", "cinemo_ddim"), noise=noise
    )
    motion = latent["samples"] - samples[:1]
    assert relative_rms(residual["samples"], motion) == pytest.approx(errors[2], rel=1e-2)
    assert torch.equal(frames["samples"][:1], samples[:1])


def test_the_noise_knows_the_clip_and_its_settings(model, clip):
    samples, text = moving(clip), clip.positive[0][0]
    base = invert(model, samples, text)[0].noise
    for other in (
        invert(model, samples.flip(0), text),
        invert(model, samples, text * 1.1),
        invert(model, samples, text, motion_id=50.0),
        invert(model, samples, text, cfg=3.0, negative=-text),
    ):
        assert (other[0].noise - base)[1:].abs().mean() > 1e-3
    assert torch.equal(invert(model, samples, text, negative=-text)[0].noise, base)  # at cfg 1 the negative prompt is not used


def test_patches_take_part(model, clip):
    samples, text = moving(clip), clip.positive[0][0]
    model.set_model_unet_function_wrapper(damp(0.0))
    noise = invert(model, samples, text, 5)[0].noise
    # without any predicted noise the residuals only shrink, as alphas_cumprod says
    shrunk = (samples - samples[:1]) * SCALE * (alphas_cumprod()[801] / alphas_cumprod()[0]).sqrt()
    assert relative_rms(noise, shrunk) <= 1e-4


def test_progress_previews_and_interruption(model, clip, monkeypatch):
    samples, text = moving(clip), clip.positive[0][0]
    expected = invert(model, samples, text, 4)[0].noise
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **kwargs: seen.append((value, total, preview)))
    try:
        invert(model, samples, text, 4, check=True)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    seen = [sent for sent in seen if sent[2] is not None]  # the others are between the steps
    assert [(value, total) for value, total, _ in seen] == [(step, 8) for step in range(1, 9)]  # there and back
    assert len({preview[1].tobytes() for _, _, preview in seen}) == 8

    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        invert(model, samples, text, 4)
    assert torch.equal(invert(model, samples, text, 4)[0].noise, expected)


def test_a_latent_of_another_length_is_resampled(model, clip):
    samples, text = torch.randn(9, 4, 6, 7, generator=torch.Generator().manual_seed(2)), clip.positive[0][0]
    noise, latent, _ = invert_video(
        model,
        plain(text),
        plain(text),
        Source(latent={"samples": samples}),
        ClipSize(512, 320, 5),
        Motion(9),
        Inversion(1, 1.0, check=False),
    )
    assert torch.equal(latent["samples"], samples[::2])
    assert noise.noise.shape == (5, 4, 6, 7)


def test_a_still_clip_is_inverted_and_said_to_be_still(model, clip):
    noise, _, report = invert(model, clip.samples, clip.positive[0][0], check=True)
    assert noise.noise.isfinite().all() and "stands still" in report


def test_dctinit_refines_low_frequencies_only(model, clip):
    samples = moving(clip)
    noise = invert(model, samples, clip.positive[0][0], 4)[0]
    other_image = random_clip().samples.flip(-1)
    refined = DCTInitNoise(other_image, noise, LowPass(0.5, 985))
    assert refined.seed == noise.seed
    latent = {"samples": samples}
    before, after = noise.generate_noise(latent), refined.generate_noise(latent)
    assert torch.equal(before[0], after[0])
    change = torch.from_numpy(dctn((after - before)[1:].double().numpy(), type=2, norm="ortho", axes=(0, 2, 3))).abs()
    low = LowPass(0.5).mask(4, 6, 7)[:, None].expand_as(change)
    assert change[low].max() > 0.01
    assert change[~low].max() < 1e-3 * change[low].max()


@pytest.mark.parametrize("refine", [False, True], ids=["plain", "dctinit"])
def test_motion_transfer(drawn, refine):
    """The whole chain on a whole checkpoint: a video of any size and length, its motion, another image, frames."""
    generator = torch.Generator().manual_seed(4)
    video, picture = torch.rand(7, 50, 90, 3, generator=generator), torch.rand(1, 64, 40, 4, generator=generator)
    with torch.inference_mode():
        model, text_encoder, vae = load_bundle(str(drawn), "default", "temporal")
        text = prompt(text_encoder, "waves")
        noise, source, report = invert_video(
            model, text, text, Source(video, vae=vae), ClipSize(*SIZE.values(), 5), Motion(9), Inversion(2, 1.0)
        )
        assert source["samples"].shape == (5, 4, 4, 6) and returned_error(report) >= 0
        torch.testing.assert_close(source["samples"][:1], condition_clip([], [], vae, video, ClipSize(*SIZE.values(), 5), Motion(9))[2][:1])
        positive, negative, start = condition_clip(text, text, vae, picture, ClipSize(*SIZE.values(), 5), Motion(9))
        if refine:
            noise = DCTInitNoise(start, noise, LowPass(0.23, 985))
        frames, _ = sample_clip(model, positive, negative, {"samples": start}, Sampling(0, 2, 1.0, "ddim", "cinemo_ddim"), noise=noise)
        assert torch.equal(frames["samples"][:1], start[:1])
        moved = decode_clip(vae, frames["samples"])
        assert moved.shape == (5, 32, 48, 3) and moved.isfinite().all()
        other = torch.rand(7, 50, 90, 3, generator=generator)
        other_noise = invert_video(
            model, text, text, Source(other, vae=vae), ClipSize(*SIZE.values(), 5), Motion(9), Inversion(2, 1.0, check=False)
        )[0]
        if refine:
            other_noise = DCTInitNoise(start, other_noise, LowPass(0.23, 985))
        differs, _ = sample_clip(
            model, positive, negative, {"samples": start}, Sampling(0, 2, 1.0, "ddim", "cinemo_ddim"), noise=other_noise
        )
        assert (differs["samples"] - frames["samples"])[1:].abs().mean() > 1e-3  # another motion moves it otherwise


def sentence(error) -> str:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400
    return text


CLIP = torch.zeros(5, 4, 6, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": None}, "got neither images nor a latent; connect the clip to one of the two"),
        ({"images": torch.rand(5, 16, 16, 3)}, "got both images and a latent"),
        ({"latent": None, "images": torch.rand(5, 16, 16, 3)}, "There is no VAE"),
        ({"latent": None, "images": torch.rand(1, 16, 16, 3)}, r"has 1 frame\(s\), so there is no motion"),
        ({"latent": None, "images": torch.rand(5, 16, 16, 3), "width": 20}, "multiple of 8"),
        ({"latent": None, "images": torch.rand(5, 16, 16, 3) / 0}, "NaN"),
        ({"latent": {"samples": CLIP[:1]}}, r"has 1 frame\(s\)"),
        ({"latent": {"samples": CLIP[None]}}, "5 dimensions"),
        ({"latent": {"samples": CLIP / 0}}, "NaN"),
        ({"frames": 1}, "choose 2 or more"),
        ({"steps": 0}, "choose a whole number from 1 to 1000"),
        ({"motion_bucket": 20}, "motion bucket is 20"),
    ],
)
def test_bad_input(model, clip, change, message):
    text = clip.positive[0][0]
    given = {"images": None, "latent": {"samples": CLIP}, "width": 512, "height": 320, "frames": 5, "steps": 1, "motion_bucket": 9} | change
    source, size = Source(given["images"], given["latent"]), ClipSize(given["width"], given["height"], given["frames"])
    model.set_model_unet_function_wrapper(lambda *_: pytest.fail("work began"))
    with pytest.raises(CinemoError, match=message) as error:
        invert_video(model, plain(text), plain(text), source, size, Motion(given["motion_bucket"]), Inversion(given["steps"], 1.0))
    sentence(error)


def test_noise_of_another_clip(model, clip):
    noise = InvertedNoise(torch.zeros(6, 4, 6, 8))
    with pytest.raises(
        CinemoError, match="noise is that of a clip of 6 frames of 64x48, the sampler works on 5 frames of 56x48; "
    ) as error:
        sample_clip(model, clip.positive, clip.negative, {"samples": clip.samples}, Sampling(0, 1, 1.0, "ddim", "cinemo_ddim"), noise=noise)
    sentence(error)
    assert InvertedNoise(torch.zeros(5, 4, 6, 7)).generate_noise({"samples": clip.samples}).shape == clip.samples.shape
