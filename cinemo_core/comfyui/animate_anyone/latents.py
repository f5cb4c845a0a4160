"""Interpolation of a LATENT's frames."""

import torch

from ...models.animate_anyone.interpolation import interpolate
from ...shapes import check_clip_latent, check_finite


def interpolate_clip(samples: torch.Tensor, factor: int, method: str) -> torch.Tensor:
    """[f, 4, h, w] -> [(f - 1) * factor + 1, 4, h, w]. Raises InputError for what is not a clip, and as `interpolate` does."""
    check_clip_latent(samples, "Animate Anyone", "Cinemo Animate Anyone Conditioning")
    check_finite(samples)
    return interpolate(samples, factor, method)
