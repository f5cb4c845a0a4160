"""Sizes, lengths, previews, masks, video to video, interruption, and the stock nodes around the model."""

import comfy.model_management
import comfy.sample
import comfy.samplers
import latent_preview
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import FAST_SCHEDULER, SCHEDULES, Sampling, own_sigmas, reference_sigmas, sample_clip
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.models.cinemo.schedule import ddim_sigmas
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.nodes.cinemo.sample import CinemoDDIMScheduler

from .conftest import MOTION_ID, animate, assert_same_but_for_rounding, make_clip, random_clip


@pytest.mark.parametrize(("frames", "height", "width"), [(2, 8, 8), (64, 8, 8), (3, 64, 96), (5, 9, 13), (16, 5, 7), (7, 11, 8)])
def test_lengths_and_sizes(model, frames, height, width):
    clip = random_clip(frames, height, width)
    out = animate(model, clip, steps=1)
    assert out.shape == (frames, 4, height, width)
    assert out.isfinite().all()
    assert torch.equal(out[:1], clip.samples[:1])


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 30, 31, 333, 999, 1000])
def test_schedule_node_gives_the_reference_steps(model, steps):
    found, expected = reference_sigmas(model, steps, 1.0), ddim_sigmas(steps)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)  # the model's table is float64's, the reference's float32's


@pytest.mark.parametrize(("steps", "denoise"), [(6, 1.0), (7, 1.0), (5, 0.6), (1, 0.3)])
def test_the_fast_schedule_in_the_sampler_is_the_nodes(model, clip, steps, denoise):
    """Frames of the residual KSampler against ComfyUI's own loop over the SIGMAS that the scheduler node gives."""
    sigmas = CinemoDDIMScheduler.execute(model, steps, denoise, FAST_SCHEDULER).args[0]
    assert len(sigmas) == steps + 1 and torch.equal(sigmas, own_sigmas(model, FAST_SCHEDULER, steps, denoise))
    sampling = Sampling(5, steps, 4.0, "dpmpp_2m", FAST_SCHEDULER, denoise)
    ours, _ = sample_clip(model, clip.positive, clip.negative, {"samples": clip.samples}, sampling)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(clip.positive, clip.negative)
    guider.set_cfg(4.0)
    noise = comfy.sample.prepare_noise(clip.samples, 5)
    out = guider.sample(noise, clip.samples, comfy.samplers.sampler_object("dpmpp_2m"), sigmas, seed=5, disable_pbar=True)
    torch.testing.assert_close(ours["samples"], out, rtol=1e-5, atol=1e-4)
    assert not set(SCHEDULES) & set(comfy.samplers.SCHEDULER_NAMES)  # they stay the pack's own


def test_stock_sampling_gives_a_clip(model, clip):
    """KSampler as everybody uses it: the still clip in, frames out, frame 0 the image."""
    noise = comfy.sample.prepare_noise(clip.samples, 5)
    out = comfy.sample.sample(
        model, noise, 4, 4.0, "dpmpp_2m", "karras", clip.positive, clip.negative, clip.samples, seed=5, disable_pbar=True
    )
    torch.testing.assert_close(out[:1], clip.samples[:1], rtol=0, atol=1e-5)
    ours, residual = sample_clip(model, clip.positive, clip.negative, {"samples": clip.samples}, Sampling(5, 4, 4.0, "dpmpp_2m", "karras"))
    torch.testing.assert_close(ours["samples"], out, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(residual["samples"], out - clip.samples, rtol=1e-6, atol=1e-5)


def test_video_to_video_starts_from_the_clip(model, clip):
    real = clip.samples + torch.randn(clip.samples.shape, generator=torch.Generator().manual_seed(9))
    distance = [(animate(model, clip, 4, denoise, real) - real)[1:].square().mean().item() for denoise in (0.0, 0.1, 0.9)]
    assert distance[0] == 0
    assert distance[0] < distance[1] < distance[2]


def test_a_mask_holds_a_region_still(model, clip):
    mask = torch.ones(1, 1, 6, 7)
    mask[..., :3] = 0
    out = animate(model, clip, 4, noise_mask=mask)
    torch.testing.assert_close(out[..., :3], clip.samples[..., :3], rtol=0, atol=1e-5)
    assert (out - clip.samples)[1:, ..., 4:].abs().mean() > 1


def test_seed_and_noise_input(model, clip):
    same = animate(model, clip, noise=random_noise(1))
    assert torch.equal(animate(model, clip), same)
    assert not torch.equal(animate(model, clip, noise=random_noise(2)), same)
    refined = DCTInitNoise(clip.samples, random_noise(1), LowPass(0.5, 975))
    assert refined.seed == 1
    assert not torch.equal(animate(model, clip, noise=refined), same)
    nothing_refined = DCTInitNoise(clip.samples, random_noise(1), LowPass(0.0, 975))
    assert_same_but_for_rounding(animate(model, clip, noise=nothing_refined), same)  # it went through the DCT and back


def test_custom_sampling(model, clip):
    """SamplerCustomAdvanced's parts with our NOISE and SIGMAS come within DDIM's last rescaling of our own sampler."""
    noise = DCTInitNoise(clip.samples, random_noise(1), LowPass(0.5, 975))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(clip.positive, clip.negative)
    guider.set_cfg(4.0)
    start = noise.generate_noise({"samples": clip.samples})
    out = guider.sample(
        start, clip.samples, comfy.samplers.sampler_object("ddim"), reference_sigmas(model, 10, 1.0), seed=1, disable_pbar=True
    )
    ours = animate(model, clip, 10, noise=noise)
    assert (out - ours).square().mean() <= 1e-3**2 * (ours - clip.samples).square().mean()


def test_motion_id_and_text_reach_the_network(model, clip):
    base = animate(model, clip)
    other_motion = make_clip(clip.z0, 5, clip.positive[0][0], clip.negative[0][0], MOTION_ID - 1)
    other_text = make_clip(clip.z0, 5, clip.positive[0][0] * 1.1, clip.negative[0][0])
    for other in (other_motion, other_text):
        assert (animate(model, other) - base).abs().mean() > 0.1


def test_prompt_per_frame(model, clip):
    """A batch of as many prompts as frames: equal ones change nothing, one that differs changes the clip."""
    base = animate(model, clip)
    text, options = clip.positive[0]
    clip.positive[0] = [text.repeat(5, 1, 1), options]
    torch.testing.assert_close(animate(model, clip), base, rtol=1e-4, atol=1e-3)
    clip.positive[0] = [torch.cat([text.repeat(4, 1, 1), -text]), options]
    assert (animate(model, clip) - base).abs().mean() > 0.1


def test_previews_move(model, clip, monkeypatch):
    """Latent2RGB as ComfyUI draws it: our sampler walks through the frames, a stock sampler shows a moving one."""
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    seen = []
    decode = latent_preview.Latent2RGBPreviewer.decode_latent_to_preview

    def watch(self, x0):
        image = decode(self, x0)
        seen.append(image.tobytes())
        return image

    monkeypatch.setattr(latent_preview.Latent2RGBPreviewer, "decode_latent_to_preview", watch)
    still = (
        latent_preview.get_previewer(model.load_device, type(model.model.latent_format).__mro__[1]())
        .decode_latent_to_preview(clip.z0)
        .tobytes()
    )
    seen.clear()
    animate(model, clip, steps=4)
    assert len(seen) == 4 and len(set(seen)) == 4 and still not in seen
    seen.clear()
    noise = comfy.sample.prepare_noise(clip.samples, 5)
    callback = latent_preview.prepare_callback(model, 3)
    comfy.sample.sample(
        model, noise, 3, 4.0, "euler", "normal", clip.positive, clip.negative, clip.samples, callback=callback, seed=5, disable_pbar=True
    )
    assert len(seen) == 3 and still not in seen


@pytest.mark.parametrize("step", [0, 1, 3])
def test_interrupted_at_any_step_leaves_the_model_usable(model, clip, monkeypatch, step):
    expected = animate(model, clip, steps=4)
    prepare = latent_preview.prepare_callback

    def interrupt_at(step):
        def prepared(*args):
            callback = prepare(*args)

            def wrapped(i, *rest):
                if i == step:
                    comfy.model_management.interrupt_current_processing()
                callback(i, *rest)

            return wrapped

        return prepared

    with monkeypatch.context() as patch:
        patch.setattr(latent_preview, "prepare_callback", interrupt_at(step))
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            animate(model, clip, steps=4)
            comfy.model_management.throw_exception_if_processing_interrupted()  # after the last step nothing else asks
    assert torch.equal(animate(model, clip, steps=4), expected)
