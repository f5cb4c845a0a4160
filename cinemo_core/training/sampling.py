"""Animates latents with a UNet by DDIM, in plain torch, for validation and evaluation (paper sec. 3.3 and 4.1).

In variance-preserving form, as the authors' script samples. The nodes run the same steps on ComfyUI's samplers.
"""

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.cinemo.dctinit import dct_init
from ..models.cinemo.schedule import alphas_cumprod, ddim_timesteps
from ..motion.low_pass import LowPass
from .objective import RESIDUAL, to_frames, to_network

CUTOFF, NOISE_LEVEL = 0.23, 975  # the authors' demo of animation
TRANSFORMS = {"dctinit": "dct", "fftinit": "fft"}  # fftinit: what the paper compares DCTInit with


@torch.no_grad()
def sample(
    unet: nn.Module,
    z0: Tensor,
    context: Tensor,
    uncond_context: Tensor,
    motion_id: int | Tensor,
    frames: int = 16,
    steps: int = 50,
    cfg: float = 7.5,
    generator: torch.Generator | None = None,
    prediction: str = RESIDUAL,
    initial_noise: str = "dctinit",
    cutoff: float = CUTOFF,
    noise_level: int = NOISE_LEVEL,
) -> Tensor:
    """Clips that begin with z0: [b, frames, 4, h, w], frame 0 exactly z0, like z0 in type and device.

    z0: scaled latents [b, 4, h, w]. context, uncond_context: text for each clip and the empty text, [b or 1, 77, d].
    motion_id: the network's id, one for all or [b]. generator: of the CPU, hence the same noise on every device.
    prediction: what the UNet was trained for, "residual" or "direct". initial_noise: "dctinit", "fftinit" or "none".
    Raises InputError for settings out of range.
    """
    noise = torch.randn(z0.shape[0], frames - 1, *z0.shape[1:], generator=generator)
    noise = torch.stack([refine(z, n, initial_noise, cutoff, noise_level) for z, n in zip(z0.cpu().float(), noise, strict=True)])
    return denoise(unet, z0, noise.to(z0), context, uncond_context, motion_id, steps, cfg, prediction)


@torch.no_grad()
def denoise(
    unet: nn.Module,
    z0: Tensor,
    noise: Tensor,
    context: Tensor,
    uncond_context: Tensor,
    motion_id: int | Tensor,
    steps: int,
    cfg: float,
    prediction: str = RESIDUAL,
    uncond_motion_id: int | None = None,
) -> Tensor:
    """The DDIM steps of `sample` from given noise, [b, frames - 1, 4, h, w].

    uncond_motion_id: what the network is given with the empty text; None: the clips' own ids, as the authors do.
    """
    clips, first, x = z0.shape[0], z0.unsqueeze(1), noise
    frames = 1 + noise.shape[1]
    texts = [uncond_context, context] if cfg != 1 else [context]
    text = torch.cat([t.expand(clips, -1, -1) for t in texts])
    ids = torch.as_tensor(motion_id, device=z0.device).expand(clips).repeat(len(texts))
    if uncond_motion_id is not None:
        ids[:-clips] = uncond_motion_id

    alphas = alphas_cumprod()
    timesteps = ddim_timesteps(steps)
    for t, target in zip(timesteps, [*timesteps[1:], 0], strict=True):
        seen = to_network(first, x, prediction).repeat(len(texts), 1, 1, 1, 1).flatten(0, 1)
        when = torch.full((len(seen),), t, device=z0.device)
        predicted = unet(seen, when, text, ids).unflatten(0, (-1, frames))[:, 1:].to(x.dtype)
        uncond, cond = predicted[:clips], predicted[-clips:]
        eps = uncond + cfg * (cond - uncond)
        alpha, alpha_target = alphas[t].item(), alphas[target].item()
        clean = (x - (1 - alpha) ** 0.5 * eps) / alpha**0.5
        x = alpha_target**0.5 * clean + (1 - alpha_target) ** 0.5 * eps
    return to_frames(first, x, prediction)


def refine(z0: Tensor, noise: Tensor, initial_noise: str, cutoff: float, noise_level: int) -> Tensor:
    """Initial noise of one clip: z0 [c, h, w], noise [f, c, h, w]."""
    if initial_noise == "none":
        return noise
    if initial_noise not in TRANSFORMS:
        raise InputError(f"The initial noise is {initial_noise!r}; choose dctinit, fftinit or none.")
    return dct_init(z0[None], noise, LowPass(cutoff, noise_level, transform=TRANSFORMS[initial_noise]))
