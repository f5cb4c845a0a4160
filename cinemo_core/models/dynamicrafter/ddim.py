"""DDIM with eta (arXiv 2010.02502, Eq. 12) as the authors sample, in y = x / (sqrt(a) s), where every other sampler works too.

There a step goes from y to denoised + down * eps + up * noise, with eps = (y - denoised) / sigma'. The authors take the share of
fresh noise from the schedule without dynamic rescale, so `down` and `up` are not those of an ancestral step on sigma'.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

FINAL_TIMESTEP = 0  # the last step ends at its alpha, not at 1: a little noise stays


class Level(NamedTuple):
    """A noise level: alphas_cumprod and the scale s of a timestep. The last timestep of a v model has alpha 0."""

    alpha: float
    scale: float

    @property
    def sigma(self) -> float:
        """sigma'; infinite where there is no signal."""
        return ((1 - self.alpha) / self.alpha) ** 0.5 / self.scale if self.alpha else float("inf")

    @property
    def signal(self) -> float:
        """Factor from y to the authors' x."""
        return self.alpha**0.5 * self.scale


def split_noise(level: Level, target: Level, eta: float) -> tuple[float, float]:
    """How much of the predicted and of fresh noise there is after a step from `level` to `target`, in y.

    In float32 like the authors': with eta 1 the first step leaves nothing of the predicted noise but what rounding leaves.
    """
    fresh = torch.tensor(eta * ((1 - target.alpha) / (1 - level.alpha) * (1 - level.alpha / target.alpha)) ** 0.5, dtype=torch.float32)
    kept = (1 - torch.tensor(target.alpha, dtype=torch.float32) - fresh**2).clamp(min=0).sqrt()
    return kept.item() / target.signal, fresh.item() / target.signal


def sample(
    predict: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    y: Tensor,
    levels: Sequence[Level],
    eta: float,
    noise: Callable[[int], Tensor],
) -> Tensor:
    """Walk from the first level to the last. `predict(y, i)` gives the clip without noise and the noise at level i; `noise(i)` fresh noise.

    y may be anything at a level without signal, as long as `predict` knows; it is never multiplied there.
    """
    for i, (level, target) in enumerate(pairwise(levels)):
        denoised, eps = predict(y, i)
        down, up = split_noise(level, target, eta)
        y = denoised + down * eps
        if up:
            y = y + up * noise(i)
    return y
