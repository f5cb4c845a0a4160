"""The authors' sampling on ComfyUI: their steps as SIGMAS, their DDIM as SAMPLER, and both with their guidance in one call."""

from dataclasses import dataclass, field

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from comfy.k_diffusion.sampling import default_noise_sampler

from ...errors import InputError
from ...models.diffusion import TIMESTEPS
from ...models.dynamicrafter.ddim import FINAL_TIMESTEP, Level, sample
from ...models.dynamicrafter.schedule import reference_timesteps
from ...shapes import check_clip_latent, check_finite
from ..description import check_model
from ..noise import random_noise
from ..preview import moving_preview
from .conditioning import check_image_condition, image_of
from .guidance import Guidance, make_guider
from .model import DynamiCrafterSupported
from .model_sampling import DynamiCrafterSampling, rescaled_sampling

REFERENCE = "dynamicrafter_ddim"  # as a sampler and as a scheduler
AUTO, UNIFORM, TRAILING = "auto", "uniform", "uniform_trailing"
SPACINGS = (AUTO, UNIFORM, TRAILING)
TABLE_TOLERANCE = 1e-5  # relative, between a sigma and one of the table's


def sampler_names() -> list[str]:
    """The authors' sampler and ComfyUI's, with those that other packs have registered by now."""
    return [REFERENCE, *comfy.samplers.KSampler.SAMPLERS]


def scheduler_names() -> list[str]:
    """The authors' schedule and ComfyUI's, with those that other packs have registered by now."""
    return [REFERENCE, *comfy.samplers.KSampler.SCHEDULERS]


def reference_sigmas(model, steps: int, denoise: float = 1.0, spacing: str = AUTO) -> torch.Tensor:
    """The authors' steps as SIGMAS; the last is not 0: they end at the alpha of timestep 0, at the scale of the step before it.

    spacing: "uniform" (256), "uniform_trailing" (the others), or "auto" for the model's own. Raises InputError for another family's model.
    """
    check_model(model, DynamiCrafterSupported)
    if spacing not in SPACINGS:
        raise InputError(f"The spacing is {spacing!r}; choose one of {', '.join(SPACINGS)}.")
    trailing = model.get_model_object("variant").trailing if spacing == AUTO else spacing == TRAILING
    timesteps = reference_timesteps(steps, denoise, trailing)
    if not timesteps:
        return torch.zeros(0)
    sampling = rescaled_sampling(model.get_model_object("model_sampling"))
    sigmas = sampling.sigmas[timesteps].cpu()
    end = torch.tensor([final_level(sampling, timesteps[-1]).sigma])
    return torch.cat([sigmas, end.minimum(sigmas[-1:])])  # it is the same level where the last step is that of timestep 0


def final_level(sampling: DynamiCrafterSampling, timestep: int) -> Level:
    """Where the authors' last step ends, from this timestep."""
    return Level(sampling.level(FINAL_TIMESTEP).alpha, sampling.level(timestep).scale)


def levels_of(sampling: DynamiCrafterSampling, wanted: torch.Tensor) -> list[Level]:
    """Alpha and scale at each of these sigmas, as the authors keep them where a sigma is of their table."""
    timesteps = sampling.timestep(wanted.clamp(min=1e-10).to(sampling.sigmas)).tolist()
    sigmas, table = wanted.tolist(), sampling.sigmas.tolist()  # here and not one by one: on a GPU each would wait
    levels = []
    for sigma, timestep in zip(sigmas, timesteps, strict=True):
        if abs(sigma / table[timestep] - 1) <= TABLE_TOLERANCE:
            levels.append(sampling.level(timestep))
            continue
        scale = sampling.level(timestep).scale
        levels.append(Level(1 / (1 + (sigma * scale) ** 2), scale))
    if len(levels) > 1:
        end = final_level(sampling, timesteps[-2])
        if abs(sigmas[-1] / end.sigma - 1) <= TABLE_TOLERANCE:
            levels[-1] = end
    return levels


@torch.no_grad()
def sample_ddim(
    model, x, sigmas, extra_args=None, callback=None, disable=None, *, eta=1.0, reference_brightness=False, noise_sampler=None
) -> torch.Tensor:
    """DDIM with eta (`models.dynamicrafter.ddim`) as a sampler function of k-diffusion's kind."""
    if len(sigmas) < 2:
        return x
    extra_args = {} if extra_args is None else extra_args
    if noise_sampler is None and eta:
        noise_sampler = default_noise_sampler(x, seed=extra_args.get("seed"))
    levels = levels_of(rescaled_sampling(model.inner_model.inner_model.model_sampling), sigmas)
    ones = x.new_ones([x.shape[0]])

    with comfy.utils.model_trange(len(levels) - 1, disable=disable) as bar:
        steps = iter(bar)

        def predict(y, i):
            next(steps)
            denoised = model(y, sigmas[i] * ones, **extra_args)
            if callback is not None:
                callback({"x": y, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
            noise = y if not levels[i].alpha else y - denoised  # without signal the state is noise alone
            return denoised, noise / sigmas[i]

        y = sample(predict, x, levels, eta, lambda i: noise_sampler(sigmas[i], sigmas[i + 1]))
        next(steps, None)
    return y * levels[-1].signal if reference_brightness else y


class ReferenceDDIM(comfy.samplers.KSAMPLER):
    """The authors' DDIM. A whole run of it starts from noise of unit variance, also where its first sigma is not the largest."""

    def __init__(self, eta: float = 1.0, reference_brightness: bool = False):
        if eta < 0:
            raise InputError(f"The eta is {eta}; choose 0 (no fresh noise) to 1 (the authors' choice).")
        super().__init__(sample_ddim, {"eta": eta, "reference_brightness": reference_brightness})

    def max_denoise(self, model_wrap, sigmas):
        sampling = model_wrap.inner_model.model_sampling
        first = int(sampling.timestep(sigmas[:1].to(sampling.sigmas)))
        stride = TIMESTEPS // max(1, len(sigmas) - 1)
        return first >= TIMESTEPS - max(stride, 1) - 1 or super().max_denoise(model_wrap, sigmas)


@dataclass(frozen=True)
class Sampling:
    """How a clip is sampled. eta and reference_brightness are of the authors' sampler; denoise: 0..1."""

    seed: int
    steps: int = 50
    sampler_name: str = REFERENCE
    scheduler: str = REFERENCE
    denoise: float = 1.0
    eta: float = 1.0
    reference_brightness: bool = False
    guidance: Guidance = field(default_factory=Guidance)


def sample_clip(model, positive: list, negative: list, latent: dict, sampling: Sampling, noise=None) -> dict:
    """Denoise a clip; returns its LATENT. `noise`: a NOISE to start from in place of the seeded one.

    Raises InputError and ConditioningError, before work starts, for what does not fit.
    """
    guider = make_guider(model, positive, negative, sampling.guidance)
    samples = latent["samples"]
    check_clip_latent(samples, DynamiCrafterSupported.family.name, DynamiCrafterSupported.conditioner)
    check_finite(samples)
    for conditioning, name in ((positive, "positive"), (negative, "negative")):
        check_image_condition(image_of(conditioning, name), samples.shape)
    sampler, sigmas = sampler_of(sampling), sigmas_of(model, sampling)
    start = (random_noise(sampling.seed) if noise is None else noise).generate_noise(latent)
    if start.shape != samples.shape:
        raise InputError(f"The noise has shape {list(start.shape)}, the latent {list(samples.shape)}; make both from the same clip.")
    with moving_preview(model, len(sigmas) - 1) as callback:
        denoised = guider.sample(
            start,
            samples,
            sampler,
            sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=sampling.seed,
        )
    denoised = denoised.to(comfy.model_management.intermediate_device())
    if "noise_mask" in latent:  # the authors' schedule ends above zero; its trace of noise must not stay where the clip is kept
        mask = comfy.sampler_helpers.prepare_mask(latent["noise_mask"], samples.shape, denoised.device)
        denoised = torch.where(mask == 0, samples.to(denoised), denoised)
    return latent | {"samples": denoised}


def sampler_of(sampling: Sampling):
    if sampling.sampler_name == REFERENCE:
        return ReferenceDDIM(sampling.eta, sampling.reference_brightness)
    return comfy.samplers.sampler_object(sampling.sampler_name)


def sigmas_of(model, sampling: Sampling) -> torch.Tensor:
    if sampling.scheduler == REFERENCE:
        return reference_sigmas(model, sampling.steps, sampling.denoise)
    name = comfy.samplers.KSampler.SAMPLERS[0] if sampling.sampler_name == REFERENCE else sampling.sampler_name
    return comfy.samplers.KSampler(model, sampling.steps, model.load_device, name, sampling.scheduler, sampling.denoise).sigmas
