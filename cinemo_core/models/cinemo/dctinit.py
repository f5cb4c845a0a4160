"""DCTInit as Cinemo's authors use it (paper sec. 3.3): the first frame noised by Cinemo's own schedule, to a timestep."""

from functools import partial

import torch

from ...motion.low_pass import LowPass, refine
from .schedule import alphas_cumprod


def add_noise(x0: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
    """Forward diffusion sqrt(a) * x0 + sqrt(1 - a) * noise at `timestep` 0..999; the shapes broadcast."""
    alpha = alphas_cumprod()[timestep].to(device=x0.device, dtype=x0.dtype)
    return alpha.sqrt() * x0 + (1.0 - alpha).sqrt() * noise


def dct_init(z0: torch.Tensor, noise: torch.Tensor, band: LowPass | None = None) -> torch.Tensor:
    """Refine `noise` with the layout of the first frame; None: the authors' band.

    z0: first frame in the network's latent scale, [1, c, h, w]. noise: one row per frame to denoise, [f, c, h, w]. See `low_pass.refine`.
    """
    band = band or LowPass()
    return refine(z0, noise, band, partial(add_noise, timestep=band.noise_level))
