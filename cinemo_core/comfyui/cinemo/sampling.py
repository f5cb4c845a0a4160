"""Sampling of one clip with the reference's conventions on ComfyUI's samplers."""

from dataclasses import dataclass

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch

from ...errors import InputError
from ...models.cinemo.fast_schedule import fast_sigmas
from ...models.cinemo.schedule import check_run, ddim_sigmas, vp_scale
from ...motion.residual import to_frames, to_residual
from ...shapes import check_clip_latent, check_finite
from ..description import check_model
from ..noise import random_noise
from ..preview import moving_preview
from .conditioning import check_clip, clip_of
from .model import CinemoSupported

REFERENCE_SCHEDULER = "cinemo_ddim"
FAST_SCHEDULER = "cinemo_fast"
SCHEDULES = {REFERENCE_SCHEDULER: ddim_sigmas, FAST_SCHEDULER: fast_sigmas}  # what ComfyUI does not have


def sampler_names() -> list[str]:
    """ComfyUI's samplers, with those that other packs have registered by now."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    """Cinemo's own schedules and ComfyUI's, with those that other packs have registered by now."""
    return [*SCHEDULES, *comfy.samplers.KSampler.SCHEDULERS]


class UnitVarianceStart(comfy.samplers.KSAMPLER):
    """A sampler that starts from noise of unit variance at whatever sigma comes first, as the reference does.

    ComfyUI does so only at the model's largest sigma, and the reference's DDIM starts below it.
    """

    def max_denoise(self, model_wrap, sigmas):
        return True


def reference_sigmas(model, steps: int, denoise: float) -> torch.Tensor:
    """The reference's DDIM steps as SIGMAS; see `own_sigmas`."""
    return own_sigmas(model, REFERENCE_SCHEDULER, steps, denoise)


def own_sigmas(model, scheduler: str, steps: int, denoise: float) -> torch.Tensor:
    """One of SCHEDULES as SIGMAS, read from the model's own noise table; see `ddim_sigmas` and `fast_sigmas`."""
    check_model(model, CinemoSupported)
    return SCHEDULES[scheduler](steps, denoise, model.get_model_object("model_sampling").sigmas.cpu())


@dataclass(frozen=True)
class Sampling:
    """How a clip is sampled. seed: of the noise, and of samplers that add noise while they run; denoise: 0..1, see `sample_clip`."""

    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    denoise: float = 1.0


def sample_clip(
    model, positive: list, negative: list, latent: dict, sampling: Sampling, noise=None, part: tuple[int, int] = (0, 1)
) -> tuple[dict, dict]:
    """Denoise a clip; returns the LATENT of its frames, frame 0 exactly z0, and the LATENT of its motion residuals.

    `noise` replaces the seeded noise. With denoise 1 the clip starts from noise of unit variance, below 1 from `latent`
    with noise added. A schedule that ends above sigma 0, as the reference's does, is closed as DDIM closes it: the
    residual is divided by sqrt(1 + sigma^2). `part` (i, n): this is run i of n equal ones that share a progress bar.
    """
    check_model(model, CinemoSupported)
    check_run(sampling.steps, sampling.denoise)
    samples = latent["samples"]
    check_clip_latent(samples)
    check_finite(samples)
    clip = clip_of(positive, "positive")
    check_clip(clip, samples.shape)
    check_clip(clip_of(negative, "negative"), samples.shape)

    sampler = comfy.samplers.sampler_object(sampling.sampler_name)
    if sampling.denoise >= 1.0:
        sampler = UnitVarianceStart(sampler.sampler_function, sampler.extra_options, sampler.inpaint_options)
    sigmas = sigmas_of(model, sampling)

    start = (random_noise(sampling.seed) if noise is None else noise).generate_noise(latent)
    if start.shape != samples.shape:
        raise InputError(f"The noise has shape {list(start.shape)}, the latent {list(samples.shape)}; make both from the same clip.")
    with moving_preview(model, len(sigmas) - 1, part) as callback:
        denoised = comfy.samplers.sample(
            model,
            start,
            positive,
            negative,
            sampling.cfg,
            model.load_device,
            sampler,
            sigmas,
            model_options=model.model_options,
            latent_image=samples,
            denoise_mask=latent.get("noise_mask"),
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=sampling.seed,
        )
    denoised = denoised.to(comfy.model_management.intermediate_device())

    z0 = clip.z0.to(denoised)
    residual = to_residual(denoised, z0)
    if len(sigmas) and sigmas[-1] > 0:
        residual = residual * vp_scale(float(sigmas[-1]))
        if "noise_mask" in latent:  # the residue of noise must not stay where the mask keeps the clip as it was
            mask = comfy.sampler_helpers.prepare_mask(latent["noise_mask"], samples.shape, residual.device)
            residual = torch.where(mask == 0, to_residual(samples.to(residual), z0), residual)
    residual[:1] = 0
    return latent | {"samples": to_frames(residual, z0)}, {"samples": residual}


def sigmas_of(model, sampling: Sampling) -> torch.Tensor:
    if sampling.scheduler in SCHEDULES:
        return own_sigmas(model, sampling.scheduler, sampling.steps, sampling.denoise)
    names = (sampling.sampler_name, sampling.scheduler)
    return comfy.samplers.KSampler(model, sampling.steps, model.load_device, *names, sampling.denoise).sigmas
