"""Noise schedule of Cinemo and its DDIM steps (paper sec. 4.1; DDIM: arXiv 2010.02502).

Training used 1000 steps with betas that rise linearly from 1e-4 to 0.02. Sampling uses DDIM with "leading" spacing,
an offset of one step and a last step that goes to `alphas_cumprod[0]`, not to 1: a residue of noise stays in the result.
ComfyUI's samplers work on the variance-exploding state x0 + sigma * noise, so the steps are given as sigmas.
"""

import torch

from ...errors import InputError

NUM_TRAIN_TIMESTEPS = 1000
BETA_START = 1e-4
BETA_END = 0.02
STEPS_OFFSET = 1


def alphas_cumprod() -> torch.Tensor:
    """Products of (1 - beta) up to each timestep: float32 [1000], to the last bit those of the scheduler used in training.

    Its betas are a float32 `linspace`, filled from both ends with one rounding per value. `torch.linspace` does that on
    CPUs with fused multiply-add only, so the values are made in float64 and rounded once, which is the same everywhere.
    """
    start, end = torch.tensor([BETA_START, BETA_END]).unbind()
    step = ((end - start) / (NUM_TRAIN_TIMESTEPS - 1)).double()
    index = torch.arange(NUM_TRAIN_TIMESTEPS, dtype=torch.float64)
    from_start, from_end = start.double() + step * index, end.double() - step * index.flip(0)
    betas = torch.where(index < NUM_TRAIN_TIMESTEPS // 2, from_start, from_end).float()
    return torch.cumprod((1.0 - betas).double(), dim=0).float()


def sigma_of(alpha_cumprod: torch.Tensor) -> torch.Tensor:
    """Noise level sqrt((1 - a) / a) of the variance-exploding form; float64, same shape."""
    alpha = alpha_cumprod.double()
    return ((1.0 - alpha) / alpha).sqrt()


def vp_scale(sigma: torch.Tensor | float) -> torch.Tensor | float:
    """Factor 1 / sqrt(1 + sigma^2) that turns a variance-exploding state at `sigma` into DDIM's own (variance-preserving) one."""
    return (1.0 + sigma**2) ** -0.5


def check_run(steps: int, denoise: float) -> None:
    """Raise InputError unless steps is a whole number in 1..1000 and denoise is in 0..1."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= NUM_TRAIN_TIMESTEPS:
        raise InputError(f"Sampling got {steps!r} steps; choose a whole number from 1 to {NUM_TRAIN_TIMESTEPS}.")
    if not 0.0 <= denoise <= 1.0:
        raise InputError(f"Denoise is {denoise}; choose a number from 0 (keep the clip) to 1 (start from noise alone).")


def ddim_timesteps(steps: int) -> list[int]:
    """Timesteps of `steps` DDIM steps, from noisy to clean: k * (1000 // steps) + 1, k = steps - 1 ... 0.

    1000 steps would begin at timestep 1000, one past the table. The 1000 trained noise levels bound 999 steps, so that
    one is left out (999 ... 1): repeating timestep 999 instead would add a step of length zero, which changes nothing in
    DDIM and divides by zero in multistep samplers.

    Raises InputError for anything but a whole number in 1..1000.
    """
    check_run(steps, denoise=1.0)
    stride = NUM_TRAIN_TIMESTEPS // steps
    timesteps = (k * stride + STEPS_OFFSET for k in reversed(range(steps)))
    return [t for t in timesteps if t < NUM_TRAIN_TIMESTEPS]


def ddim_sigmas(steps: int, denoise: float = 1.0, table: torch.Tensor | None = None) -> torch.Tensor:
    """Sigmas of a DDIM run, from noisy to clean: one per step and the last step's target, that of `alphas_cumprod[0]`.

    steps: 1..1000.
    denoise: 0..1; below 1 the last `steps` steps of int(steps / denoise) are kept, as ComfyUI's schedulers do, and 0
        gives no sigma at all. Where that would need more than 1000 steps, the strength is kept and the steps are not:
        every timestep below it is visited once.
    table: sigma of each timestep, [1000]; by default that of Cinemo's own schedule.
    Returns float32 [steps + 1], strictly decreasing (shorter in the cases named here and in `ddim_timesteps`).
    Raises InputError for values out of range.
    """
    check_run(steps, denoise)
    if denoise == 0.0:
        return torch.empty(0)
    whole, kept = whole_run(steps, denoise)
    timesteps = ddim_timesteps(whole)[-kept:]
    table = sigma_of(alphas_cumprod()) if table is None else check_table(table)
    return table.detach().cpu()[[*timesteps, 0]].float()


def whole_run(steps: int, denoise: float) -> tuple[int, int]:
    """Steps of the run from noise alone whose end is taken, and how many of them; denoise above 0, see `ddim_sigmas`."""
    # Compared as floats first: steps / denoise may be too large for an int.
    if steps / denoise < NUM_TRAIN_TIMESTEPS + 1:
        return int(steps / denoise), steps
    return NUM_TRAIN_TIMESTEPS, max(1, round(NUM_TRAIN_TIMESTEPS * denoise))


def check_table(table: torch.Tensor) -> torch.Tensor:
    """The sigmas of a model's timesteps. Raises InputError unless there is one for each that Cinemo was trained on."""
    if table.shape != (NUM_TRAIN_TIMESTEPS,):
        raise InputError(
            f"The model's noise table has shape {list(table.shape)}, Cinemo's schedules need one sigma for each of "
            f"{NUM_TRAIN_TIMESTEPS} timesteps: use a Cinemo model without a patch that replaces its schedule."
        )
    return table
