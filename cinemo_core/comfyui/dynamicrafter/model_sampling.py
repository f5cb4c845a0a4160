"""DynamiCrafter's schedule as ComfyUI's model sampling: dynamic rescale is a change of sigma, so that every sampler is right."""

import comfy.model_sampling
import torch

from ...errors import InputError
from ...models.dynamicrafter.ddim import Level
from ...models.dynamicrafter.schedule import Schedule
from ...models.dynamicrafter.variants import Variant


class DynamiCrafterSampling(comfy.model_sampling.ModelSamplingDiscrete):
    """State y = x / (sqrt(a) s), noise level sigma' = sqrt((1 - a) / a) / s; see `models.dynamicrafter.schedule`.

    The largest sigma of a v model represents infinity: there the network sees noise alone, and what it denoises is -v / s.
    The factors of a timestep are kept as computed in float64: at its sigma they are right to the last bit, and between two sigmas they
    are those of the nearest timestep, with its scale, times a correction that is 1 at its own sigma.
    """

    def __init__(self, schedule: Schedule):
        super().__init__()
        self.schedule = schedule
        self.zsnr = schedule.v
        sigmas, scales = schedule.sigmas(), schedule.scales()
        true = sigmas * scales  # sqrt((1 - a) / a)
        alphas = 1 / (1 + true**2)
        signal = alphas.sqrt() * scales
        removed = (1 - alphas).sqrt() / scales
        if schedule.v:
            signal[-1:], removed[-1:] = 1 / sigmas[-1:], 1 / scales[-1:]
        self.set_sigmas(sigmas)
        for name, table in {"true": true, "alphas": alphas, "signal": signal, "removed": removed}.items():
            self.register_buffer(name, table.float(), persistent=False)

    def level(self, timestep: int) -> Level:
        """Alpha and scale of a timestep, in float32 as the authors keep them."""
        alphas, scales = self.schedule.alphas_cumprod().float(), self.schedule.scales().float()
        return Level(alphas[timestep].item(), scales[timestep].item())

    def calculate_input(self, sigma, noise):
        signal, _, correction = self.at(sigma, noise.ndim, self.signal)
        return noise * (signal * correction.sqrt())

    def calculate_denoised(self, sigma, model_output, model_input):
        if not self.schedule.v:
            return model_input - model_output * comfy.model_sampling.reshape_sigma(sigma, model_output.ndim)
        removed, ratio, correction = self.at(sigma, model_output.ndim, self.removed)
        return self.denoised_of_zero(sigma, model_input) - model_output * (removed * ratio * correction.sqrt())

    def denoised_of_zero(self, sigma, model_input):
        """What `calculate_denoised` gives where the network's output is zero. The rest of it is proportional to that output."""
        if not self.schedule.v:
            return model_input
        alpha, _, correction = self.at(sigma, model_input.ndim, self.alphas)
        terminal = comfy.model_sampling.reshape_sigma(sigma, model_input.ndim) >= self.sigmas[-1].to(sigma)
        return model_input * torch.where(terminal, 0.0, alpha * correction)

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        """At the largest sigma a sampler starts from noise alone, whatever the latent: in the authors' terms, of unit variance."""
        sigma = comfy.model_sampling.reshape_sigma(sigma, noise.ndim)
        if not max_denoise:
            return noise * sigma + latent_image
        return noise * (sigma if self.schedule.v else (1 + sigma**2) ** 0.5)

    def inverse_noise_scaling(self, sigma, latent):
        return latent

    def at(self, sigma, ndim, table):
        """A table at the timestep nearest to sigma, sigma over that timestep's, and (1 + true^2) there over that at sigma."""
        timestep = self.timestep(sigma)
        found, own, true = (values.to(sigma.device)[timestep].to(sigma.dtype) for values in (table, self.sigmas, self.true))
        ratio = sigma / own
        correction = (1 + true**2) / (1 + (true * ratio) ** 2)
        return (comfy.model_sampling.reshape_sigma(value, ndim) for value in (found, ratio, correction))


def rescaled_sampling(sampling) -> DynamiCrafterSampling:
    """Raise InputError for a MODEL whose schedule another node has replaced."""
    if not isinstance(sampling, DynamiCrafterSampling):
        raise InputError(
            f"The model's schedule is {type(sampling).__name__}, not DynamiCrafter's own, which the authors' steps and guidance need; "
            "remove the ModelSampling node before it."
        )
    return sampling


def check_schedule(sampling, variant: Variant) -> None:
    """Raise InputError for a replaced schedule where the variant's own is one that no ModelSampling node has, whatever the sampler.

    The 256 model has Stable Diffusion's, which may be replaced as that of any SD model.
    """
    if variant.schedule.v and not isinstance(sampling, DynamiCrafterSampling):
        raise InputError(
            f"The model's schedule is {type(sampling).__name__}, but {variant.full_name} was trained with a dynamic rescale that no "
            "ModelSampling node has, and would give a wrong clip; remove that node, the loader has set the schedule."
        )
