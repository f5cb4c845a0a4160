"""DDIM inversion: the noise from which a DDIM run gives a known clip back, for motion transfer and video editing as in the paper.

DDIM's update is run towards more noise (DDIM: arXiv 2010.02502, eq. 13). A step from noise level a to b asks the network for
the noise in the state at a, but gives it b's timestep, as the authors' code does; in DDIM's own, variance-preserving scale

    x_b = sqrt(b) * (x_a - sqrt(1 - a) * eps(x_a, t_b)) / sqrt(a) + sqrt(1 - b) * eps(x_a, t_b)

Divided by sqrt(b) this is an Euler step of the variance-exploding state y = x / sqrt(a) with sigma = sqrt((1 - a) / a),

    y_b = y_a + (sigma_b - sigma_a) * eps(y_a / sqrt(1 + sigma_a^2), t_b)

A ComfyUI model at sigma_b divides its input by sqrt(1 + sigma_b^2) first, so the state is scaled to cancel that.
"""

from collections.abc import Callable, Iterable

import torch

from ...errors import InputError
from .schedule import vp_scale

Report = Callable[[int, torch.Tensor, float, torch.Tensor], None]


def invert(
    denoise: Callable[[torch.Tensor, float], torch.Tensor],
    frames: torch.Tensor,
    sigmas: torch.Tensor,
    report: Report | None = None,
    count: Callable[[int], Iterable[int]] = range,
) -> torch.Tensor:
    """z0 plus the noise that a clip's residuals come from; frame 0 stays z0. Shapes [f, c, h, w].

    denoise: the model in frame space, (noisy frames z0 + residual + sigma * noise, sigma) -> denoised frames.
    frames: the clip in the network's latent scale, frame 0 its z0.
    sigmas: rising noise levels, those of a DDIM run reversed (`schedule.ddim_sigmas`). The clip counts as DDIM's state at
        the first, as a DDIM run leaves it there.
    report: called after each evaluation with the step, the frames given to the model, sigma and the denoised frames.
    count: makes the steps' indices from their number; a progress bar can stand in.
    The noise comes out in DDIM's own scale, of about unit variance at the largest sigmas.
    """
    z0 = frames[:1]
    levels = sigmas.tolist()
    state = (frames - z0) / vp_scale(levels[0])
    for step in count(len(levels) - 1):
        sigma, target = levels[step], levels[step + 1]
        seen = z0 + state * (vp_scale(sigma) / vp_scale(target))
        denoised = denoise(seen, target)
        if report is not None:
            report(step, seen, target, denoised)
        state = state + (seen - denoised) * ((target - sigma) / target)
    return z0 + state * vp_scale(levels[-1])


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference over that of `expected`, which must not be zero everywhere."""
    found, expected = found.cpu().double(), expected.cpu().double()
    return ((found - expected).square().mean() / expected.square().mean()).sqrt().item()


def resample_frames(clip: torch.Tensor, frames: int) -> torch.Tensor:
    """`frames` rows of a clip [n, ...], evenly spaced in time from its first to its last; a shorter clip repeats rows.

    Rows are picked, never blended: a blend of two frames is a double exposure. Raises InputError for a clip of fewer than 2 frames.
    """
    if clip.shape[0] < 2:
        raise InputError(f"The clip has {clip.shape[0]} frame(s), so there is no motion in it; connect a video of 2 or more frames.")
    last = clip.shape[0] - 1
    return clip[[(2 * i * last + frames - 1) // (2 * (frames - 1)) for i in range(frames)]]  # i * last / (frames - 1), rounded
