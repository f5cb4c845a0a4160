"""Residual split and merge on what nodes exchange: a LATENT or an IMAGE, and the same comes out."""

from typing import Any

import torch

from ..errors import InputError
from ..motion.residual import merge_clip, split_clip
from ..shapes import check_image

Clip = dict[str, Any] | torch.Tensor


def split(clip: Clip) -> tuple[Clip, Clip]:
    """First frame and residual, see `split_clip`. The residual of an IMAGE is from -1 to 1."""
    if isinstance(clip, dict):
        first, residual = split_clip(clip["samples"])
        return {"samples": first}, {"samples": residual}
    check_image(clip)
    return split_clip(clip)


def merge(first: Clip, residual: Clip, gain: float) -> Clip:
    """The clip, see `merge_clip`. That of an IMAGE is limited to 0..1. Raises InputError for a LATENT with an IMAGE."""
    if isinstance(first, dict) and isinstance(residual, dict):
        return {"samples": merge_clip(first["samples"], residual["samples"], gain)}
    if isinstance(first, dict) or isinstance(residual, dict):
        raise InputError("One input is a LATENT and the other an IMAGE; connect two of a kind.")
    check_image(first)
    return merge_clip(first, residual, gain).clamp(0, 1)
