"""What the noise schedules of the families share: numbers of timesteps, trailing spacing, zero terminal SNR."""

from torch import Tensor

from ..errors import InputError

TIMESTEPS = 1000


def zero_terminal_snr(alphas: Tensor) -> Tensor:
    """The same schedule, stretched so that its last timestep holds no signal (arXiv 2305.08891, algorithm 1)."""
    roots = alphas.sqrt()
    shifted = roots - roots[-1]
    return (shifted * (roots[0] / shifted[0])) ** 2


def trailing_timesteps(steps: int) -> list[int]:
    """The "trailing" spacing, from noisy to clean; it begins at the last timestep (arXiv 2305.08891, sec. 3.3)."""
    check_steps(steps)
    return [round(TIMESTEPS - i * TIMESTEPS / steps) - 1 for i in range(steps)]


def check_steps(steps: int) -> None:
    """Raise InputError unless steps is a whole number in 1..1000."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= TIMESTEPS:
        raise InputError(f"Sampling got {steps!r} steps; choose a whole number from 1 to {TIMESTEPS}.")
