"""Sampling as the re-implementation does it: its DDIM, its noise, and the two kinds of betas."""

from types import SimpleNamespace

import comfy.model_base
import comfy.samplers
import torch

from ...errors import InputError, SamplingError
from ...models.animate_anyone import ddim
from ...models.animate_anyone.schedule import BETAS, LINEAR, SCALED_LINEAR, reference_steps
from ..description import check_model
from .model import AnimateAnyoneSupported

COMFYUI_NAMES = {LINEAR: "sqrt_linear", SCALED_LINEAR: "linear"}


def set_betas(model, betas: str):
    """A copy of the MODEL with these betas. Raises InputError for an unknown kind."""
    check_model(model, AnimateAnyoneSupported)
    if betas not in BETAS:
        raise InputError(f"The betas are {betas!r}; choose one of {', '.join(BETAS)}.")
    model = model.clone()
    settings = model.model.model_config.sampling_settings | {"beta_schedule": COMFYUI_NAMES[betas]}
    sampling = comfy.model_base.model_sampling(SimpleNamespace(sampling_settings=settings), comfy.model_base.ModelType.V_PREDICTION)
    model.add_object_patch("model_sampling", sampling)
    return model


def reference_sampling(model, steps: int) -> tuple[comfy.samplers.KSAMPLER, torch.Tensor]:
    """SAMPLER and SIGMAS of the re-implementation's DDIM, which belong together.

    It differs from ComfyUI's where the last timestep holds no signal, and where `steps` does not divide 1000.
    """
    check_model(model, AnimateAnyoneSupported)
    run = reference_steps(steps)
    table = model.get_model_object("model_sampling").sigmas.cpu()
    sigmas = torch.cat([table[[timestep for timestep, _ in run]], torch.zeros(1)])
    alphas = 1 / (1 + table.double() ** 2)
    alphas[-1] = 0  # which ComfyUI holds as the nearest that has a sigma
    return comfy.samplers.KSAMPLER(sample_reference, {"run": run, "alphas": alphas, "schedule": sigmas}), sigmas


def sample_reference(model, x, sigmas, extra_args=None, callback=None, disable=None, *, run, alphas, schedule):
    """A sampler of ComfyUI's. x: x0 + sigma * noise; the DDIM's own state is that over sqrt(1 + sigma^2)."""
    first = len(schedule) - len(sigmas)
    if first < 0 or not torch.allclose(sigmas.cpu(), schedule[first:], rtol=1e-4):
        raise SamplingError(
            "The reference sampler of Animate Anyone got sigmas of another schedule; connect both outputs of Cinemo Animate Anyone Sampler."
        )
    rows = x.new_ones(x.shape[0])
    scale = (1 + schedule[:-1].double() ** 2).sqrt().tolist()

    def predict(state: torch.Tensor, i: int) -> torch.Tensor:
        sigma = schedule[first + i].item()
        noisy = state * scale[first + i]
        denoised = model(noisy, sigma * rows, **(extra_args or {}))
        if callback is not None:
            callback({"x": noisy, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        return (state - scale[first + i] * denoised) / sigma  # v, from denoised = (state - sigma v) / sqrt(1 + sigma^2)

    return ddim.sample(predict, x / scale[first], run[first:], alphas)


class PipelineNoise:
    """Noise drawn as [1, 4, f, h, w], as the re-implementation draws it: the same seed gives its clip."""

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        frames, *shape = input_latent["samples"].shape
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(1, shape[0], frames, *shape[1:], generator=generator)[0].transpose(0, 1).contiguous()  # b c f h w -> f c h w
