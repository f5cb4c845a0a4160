"""The noise schedule of Animate Anyone: v-prediction with zero terminal SNR (arXiv 2305.08891).

The published inference has betas that rise linearly, though training had the square of a line ("scaled_linear"). MusePose samples with the
latter, and people report cleaner backgrounds with it.
"""

import torch
from torch import Tensor

from ...errors import InputError
from ..diffusion import TIMESTEPS, check_steps, trailing_timesteps, zero_terminal_snr

BETA_START, BETA_END = 0.00085, 0.012
LINEAR, SCALED_LINEAR = "linear", "scaled_linear"
BETAS = (LINEAR, SCALED_LINEAR)


def alphas_cumprod(betas: str = LINEAR) -> Tensor:
    """Float64 [1000]; the last is 0. Raises InputError for an unknown kind of betas."""
    if betas not in BETAS:
        raise InputError(f"The betas are {betas!r}; choose one of {', '.join(BETAS)}.")
    power = 1.0 if betas == LINEAR else 0.5
    line = torch.linspace(BETA_START**power, BETA_END**power, TIMESTEPS, dtype=torch.float64)
    return zero_terminal_snr(torch.cumprod(1 - line ** (1 / power), dim=0))


def reference_steps(steps: int) -> list[tuple[int, int | None]]:
    """The re-implementation's DDIM: each timestep, from noisy to clean, and the one whose alpha it steps to; None is alpha 1.

    It steps back by 1000 // steps, which misses the next timestep by one where `steps` does not divide 1000, as 30 does not.
    """
    check_steps(steps)
    back = TIMESTEPS // steps
    return [(t, t - back if t >= back else None) for t in trailing_timesteps(steps)]
