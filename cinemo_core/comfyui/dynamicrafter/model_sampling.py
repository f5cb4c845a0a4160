"""DynamiCrafter's schedule as ComfyUI's model sampling: dynamic rescale is a change of sigma, so that every sampler is right."""

import comfy.model_sampling
import torch

from ...models.dynamicrafter.ddim import Level
from ...models.dynamicrafter.schedule import Schedule


class DynamiCrafterSampling(comfy.model_sampling.ModelSamplingDiscrete):
    """State y = x / (sqrt(a) s), noise level sigma' = sqrt((1 - a) / a) / s; see `models.dynamicrafter.schedule`.

    The largest sigma of a v model represents infinity: there the network sees noise alone, and what it denoises is -v / s.
    """

    def __init__(self, schedule: Schedule):
        super().__init__()
        self.schedule = schedule
        self.zsnr = schedule.v
        self.set_sigmas(schedule.sigmas())
        self.register_buffer("scales", schedule.scales().float(), persistent=False)

    def level(self, timestep: int) -> Level:
        """Alpha and scale of a timestep, in float32 as the authors keep them."""
        alphas, scales = self.schedule.alphas_cumprod().float(), self.schedule.scales().float()
        return Level(alphas[timestep].item(), scales[timestep].item())

    def calculate_input(self, sigma, noise):
        sigma, scale = self.at(sigma, noise.ndim)
        return noise * scale / (1 + (sigma * scale) ** 2) ** 0.5

    def calculate_denoised(self, sigma, model_output, model_input):
        noise = comfy.model_sampling.reshape_sigma(sigma, model_output.ndim)
        sigma, scale = self.at(sigma, model_output.ndim)
        true = sigma * scale  # sqrt((1 - a) / a)
        if not self.schedule.v:
            return model_input - model_output * sigma
        root = (1 + true**2) ** 0.5
        kept, removed = 1 / root**2, true / root
        terminal = noise >= self.sigmas[-1].to(noise)
        kept, removed = torch.where(terminal, 0.0, kept), torch.where(terminal, 1.0, removed)
        return model_input * kept - model_output * removed / scale

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        sigma = comfy.model_sampling.reshape_sigma(sigma, noise.ndim)
        if max_denoise and not self.schedule.v:
            sigma = (1 + sigma**2) ** 0.5
        return noise * sigma + latent_image

    def inverse_noise_scaling(self, sigma, latent):
        return latent

    def at(self, sigma, ndim):
        """Sigma, and the scale of the timestep nearest to it, shaped to multiply a latent."""
        scale = self.scales.to(sigma.device)[self.timestep(sigma)]
        return (comfy.model_sampling.reshape_sigma(value, ndim) for value in (sigma, scale.to(sigma.dtype)))
