"""A schedule for few evaluations with a multistep solver, on Cinemo's noise table.

DDIM's steps are evenly spaced in time. DPM-Solver++(2M) (arXiv 2211.01095), of second order, needs them where what the network
predicts bends. The tables below were found for it on six drawn scenes of nano's training seeds, at cfg 1, 1.4 and 7.5: they minimise
the solver's error where the network is replaced by its own predictions along a fine trajectory, pulled by the error of the state.
The row for 20 was found on an earlier nano, at cfg 1.4 and 7.5; searched again, it came out no better.
`python dev.py py -m tools.fast_schedule search` searches again, and docs/performance.md says what the rows gain.
"""

import torch

from .schedule import alphas_cumprod, check_run, check_table, sigma_of, whole_run

# Timesteps that the network is evaluated at, from noisy to clean, by the number of evaluations.
TIMESTEPS: dict[int, tuple[int, ...]] = {
    6: (999, 714, 503, 295, 120, 20),
    8: (999, 758, 573, 403, 227, 105, 35, 5),
    10: (999, 813, 666, 534, 403, 268, 157, 74, 34, 7),
    12: (999, 850, 724, 613, 507, 401, 289, 185, 105, 54, 25, 6),
    16: (999, 882, 781, 680, 588, 501, 412, 319, 226, 150, 89, 52, 33, 15, 13, 1),
    20: (999, 931, 879, 809, 744, 681, 621, 561, 502, 436, 368, 295, 224, 162, 114, 73, 45, 27, 14, 6),
}


def fast_sigmas(steps: int, denoise: float = 1.0, table: torch.Tensor | None = None) -> torch.Tensor:
    """Sigmas from the model's largest to 0, one per evaluation and the end: float32 [steps + 1], strictly decreasing.

    steps: 1..1000; for counts that were not searched, see `log_sigmas`.
    denoise: 0..1; below 1 the last `steps` steps of int(steps / denoise) are kept, as ComfyUI's schedulers do, and 0 gives no
        sigma at all. Where that would need more than 1000 steps, the strength is kept and the steps are not.
    table: sigma of each timestep, [1000]; by default that of Cinemo's own schedule.
    Raises InputError for values out of range.
    """
    check_run(steps, denoise)
    table = sigma_of(alphas_cumprod()) if table is None else check_table(table)
    if denoise == 0.0:
        return torch.empty(0)
    whole, kept = whole_run(steps, denoise)
    sigmas = log_sigmas(whole, table.detach().cpu().double().log()).exp()[-kept:]
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def log_sigmas(steps: int, table: torch.Tensor) -> torch.Tensor:
    """Logarithms of the sigmas of `steps` evaluations, float64 [steps]; table: those of the timesteps.

    Between two searched counts, both schedules are read at `steps` points and mixed, weighted by how near 1 / steps is to
    theirs, since errors go with the width of a step. Beyond the last, the nearest one is read at `steps` points.
    """
    if steps == 1:
        return table[-1:]
    counts = sorted(TIMESTEPS)
    below = max((count for count in counts if count <= steps), default=counts[0])
    above = min((count for count in counts if count >= steps), default=counts[-1])
    fewer, more = (resampled(table[list(TIMESTEPS[count])], steps) for count in (below, above))
    share = 0.0 if below == above else (1 / below - 1 / steps) / (1 / below - 1 / above)
    return fewer + share * (more - fewer)


def resampled(values: torch.Tensor, count: int) -> torch.Tensor:
    """A curve of evenly spaced values read at `count` evenly spaced places, both ends among them, straight between its own."""
    places = torch.linspace(0, len(values) - 1, count, dtype=torch.float64)
    left = places.long().clamp(max=len(values) - 2)
    return torch.lerp(values[left], values[left + 1], places - left)
