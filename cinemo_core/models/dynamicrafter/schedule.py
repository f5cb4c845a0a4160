"""The noise schedule of DynamiCrafter, and its dynamic rescale as the change of schedule that it is.

Training noised s(t) x0, with s falling from 1 to `base` over the first 400 timesteps. In y = x / (sqrt(a) s) the model is an
ordinary one whose noise level is sigma'(t) = sqrt((1 - a) / a) / s(t): y = x0 + sigma' noise. The last timestep of the v models
holds no signal (zero terminal SNR, arXiv 2305.08891): its sigma is infinite, and a finite one represents it here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ..diffusion import TIMESTEPS, check_steps, trailing_timesteps, zero_terminal_snr

BETA_START, BETA_END = 0.00085, 0.012
RESCALED = 400  # timesteps over which the scale falls
TERMINAL_ALPHA = 4.8973451890853435e-08  # represents zero: with a larger sigma, float32 loses more in a sampler than this does


@dataclass(frozen=True)
class Schedule:
    """`v`: v-prediction with zero terminal SNR, else noise prediction. `base`: the scale that s falls to, 1 for none."""

    v: bool
    base: float = 1.0

    def alphas_cumprod(self) -> Tensor:
        """Float64 [1000]; with zero terminal SNR the last is 0."""
        betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64) ** 2
        alphas = torch.cumprod(1 - betas, dim=0)
        if not self.v:
            return alphas
        return zero_terminal_snr(alphas)

    def scales(self) -> Tensor:
        """s(t), float64 [1000]."""
        falling = torch.linspace(1, self.base, RESCALED, dtype=torch.float64)
        return torch.cat([falling, falling[-1:].expand(TIMESTEPS - RESCALED)])

    def sigmas(self) -> Tensor:
        """sigma'(t), float64 [1000], rising; the last is finite."""
        alphas = self.alphas_cumprod().clamp(min=TERMINAL_ALPHA)
        return ((1 - alphas) / alphas).sqrt() / self.scales()


def uniform_timesteps(steps: int) -> list[int]:
    """The authors' "uniform" spacing, from noisy to clean: 1, 1 + c, ... with c = 1000 // steps, which may be more than `steps` of them."""
    check_steps(steps)
    return [t + 1 for t in reversed(range(0, TIMESTEPS, TIMESTEPS // steps)) if t + 1 < TIMESTEPS]


def reference_timesteps(steps: int, denoise: float, trailing: bool) -> list[int]:
    """The last `steps` of a run that is long enough to begin at that share of the noise; the authors' own with denoise 1, none with 0.

    Raises InputError for other numbers.
    """
    check_steps(steps)
    if not 0 <= denoise <= 1:
        raise InputError(f"The denoise is {denoise!r}; choose a number from 0 to 1.")
    if denoise == 0:
        return []
    spacing = trailing_timesteps if trailing else uniform_timesteps
    if denoise == 1:
        return spacing(steps)
    return spacing(min(TIMESTEPS, round(steps / denoise)))[-steps:]
