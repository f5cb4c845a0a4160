"""The pack's one idea: sampling frames equals sampling residuals and adding z0, whatever the sampler."""

import comfy.model_base
import comfy.samplers
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import REFERENCE_SCHEDULER, Sampling, sample_clip, sampler_names, scheduler_names
from cinemo_pack.cinemo_core.comfyui.noise import random_noise

STEPS = 4
# Its step size control compares an error estimate with the size of x, which z0 shifts: other steps, another result.
READS_THE_SIZE_OF_X = {"dpm_adaptive"}


def residual_space(apply_model, args):
    """Evaluate the network on residuals alone, past everything that CinemoModel adds around it."""
    model, c = apply_model.__self__, args["c"]
    clips = c["z0"].shape[0]
    out = comfy.model_base.BaseModel._apply_model(model, args["input"], args["timestep"], **c)
    out = out.unflatten(0, (clips, -1)).clone()
    out[:, 0] = 0  # the residual of frame 0
    return out.flatten(0, 1)


def sample(model, clip, sampler, sigmas, latent):
    noise = random_noise(7).generate_noise({"samples": latent})
    return comfy.samplers.sample(
        model,
        noise,
        clip.positive,
        clip.negative,
        5.0,
        model.load_device,
        sampler,
        sigmas,
        model.model_options,
        latent,
        seed=7,
        disable_pbar=True,
    )


@pytest.mark.parametrize("name", [name for name in comfy.samplers.KSampler.SAMPLERS if name not in READS_THE_SIZE_OF_X])
def test_sampling_frames_is_sampling_residuals_plus_z0(model, clip, name):
    sigmas = comfy.samplers.KSampler(model, STEPS, model.load_device, name, "normal", 1.0).sigmas
    frames = sample(model, clip, comfy.samplers.sampler_object(name), sigmas, clip.samples)
    model.set_model_unet_function_wrapper(residual_space)
    residual = sample(model, clip, comfy.samplers.sampler_object(name), sigmas, torch.zeros_like(clip.samples))
    assert residual.std() > 1  # an untrained network does move away from nothing
    error = (frames - clip.samples - residual)[1:]  # frame 0 ends at z0 only where the sampler ends at sigma 0
    assert error.square().mean().sqrt() <= 1e-5 * residual[1:].square().mean().sqrt()


# A star, not a grid: a sampler is given sigmas, whichever scheduler they are from.
PAIRS = [*((name, REFERENCE_SCHEDULER) for name in sampler_names()), *(("euler", name) for name in scheduler_names())]


@pytest.mark.parametrize(("sampler", "scheduler"), PAIRS)
def test_every_sampler_and_every_scheduler(model, clip, sampler, scheduler):
    frames, residual = sample_clip(model, clip.positive, clip.negative, {"samples": clip.samples}, Sampling(7, 3, 2.0, sampler, scheduler))
    frames, residual = frames["samples"], residual["samples"]
    assert frames.shape == residual.shape == clip.samples.shape
    assert frames.isfinite().all()
    assert torch.equal(frames[:1], clip.samples[:1])
    assert not torch.equal(frames[1:], clip.samples[1:])
