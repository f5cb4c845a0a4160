"""More frames from the latents of a clip, before it is decoded."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ...errors import InputError

PARALLEL = 0.9995  # cosine beyond which an arc is as good as a line


def linear(first: Tensor, second: Tensor, share: float) -> Tensor:
    return torch.lerp(first, second, share)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Along the arc between two frames, taken as vectors."""
    cosine = (first * second).sum() / (first.norm() * second.norm())
    if cosine.abs() > PARALLEL:
        return linear(first, second, share)
    angle = cosine.acos()
    return (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()


METHODS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"linear": linear, "slerp": slerp}


def interpolate(latents: Tensor, factor: int, method: str = "slerp") -> Tensor:
    """[f, c, h, w] -> [(f - 1) * factor + 1, c, h, w]: factor - 1 frames between two neighbours.

    Raises InputError for an unknown method, and for a factor below 1.
    """
    if method not in METHODS:
        raise InputError(f"The interpolation is {method!r}; choose one of {', '.join(METHODS)}.")
    if factor < 1:
        raise InputError(f"The interpolation factor is {factor}; choose 1 (none) or more.")
    between = METHODS[method]
    out = [latents[0]]
    for first, second in pairwise(latents):
        out += [between(first, second, i / factor) for i in range(1, factor)]
        out.append(second)
    return torch.stack(out)
