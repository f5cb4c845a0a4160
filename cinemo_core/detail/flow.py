"""Optical flow by total variation and an absolute data term (TV-L1), coarse to fine.

Zach, Pock and Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007; the median filter between warps
is from Wedel et al., "An Improved Algorithm for TV-L1 Optical Flow", 2009.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .planes import bilinear, resize_flow, warp

DERIVATIVE = (1 / 12, -8 / 12, 0, 8 / 12, -1 / 12)  # central, fourth order


@dataclass(frozen=True)
class FlowSettings:
    """How TV-L1 is solved. fidelity, coupling, step: lambda, theta and tau of the paper, for values 0..1."""

    fidelity: float = 25.0
    coupling: float = 0.3
    step: float = 0.25
    scale: float = 0.6  # from one level of the pyramid to the next
    smallest: int = 12  # pixels of the short side of the coarsest level
    warps: int = 3
    iterations: int = 12  # per warp


SETTINGS = FlowSettings()


def optical_flow(
    first: torch.Tensor,
    second: torch.Tensor,
    start: torch.Tensor | None = None,
    levels: int | None = None,
    settings: FlowSettings = SETTINGS,
    tick: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Flow [n, 2, h, w] from `first` to `second`, grey [n, 1, h, w] in 0..1: first(x) is second(x + flow(x)).

    start: a flow of the same size to begin with, else zero. levels: how many of the finest levels are used, all by default.
    tick is called after every warp.
    """
    sizes = list(_sizes(first.shape[-2], first.shape[-1], settings))[:levels]
    flow = first.new_zeros(first.shape[0], 2, *sizes[-1]) if start is None else start
    for height, width in reversed(sizes):
        flow = _refine(bilinear(first, height, width), bilinear(second, height, width), resize_flow(flow, height, width), settings, tick)
    return flow


def _sizes(height: int, width: int, settings: FlowSettings) -> Iterator[tuple[int, int]]:
    """Of the levels, finest first."""
    yield height, width
    while min(height, width) * settings.scale >= settings.smallest:
        height, width = round(height * settings.scale), round(width * settings.scale)
        yield height, width


def _refine(
    first: torch.Tensor, second: torch.Tensor, flow: torch.Tensor, settings: FlowSettings, tick: Callable[[], None]
) -> torch.Tensor:
    """One level: linearise around the flow, solve, and again."""
    stack = torch.cat([second, *_gradient(second)], dim=1)
    dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
    ratio, limit = settings.step / settings.coupling, settings.fidelity * settings.coupling
    for _ in range(settings.warps):
        flow = _median(flow)
        warped, gradient = warp(stack, flow).split((1, 2), dim=1)
        energy = gradient.square().sum(dim=1, keepdim=True) + 1e-8
        constant = warped - first - (gradient * flow).sum(dim=1, keepdim=True)
        for _ in range(settings.iterations):
            error = constant + (gradient * flow).sum(dim=1, keepdim=True)
            flow = flow - (error / energy).clamp(-limit, limit) * gradient  # equation 15: soft threshold
            flow = flow + settings.coupling * _divergence(dual_x, dual_y)
            x, y = _difference_x(flow), _difference_y(flow)
            norm = 1 + ratio * (x.square() + y.square()).sqrt()
            dual_x, dual_y = (dual_x + ratio * x) / norm, (dual_y + ratio * y) / norm
        tick()
    return flow


def _gradient(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    kernel = planes.new_tensor(DERIVATIVE)
    x = F.conv2d(F.pad(planes, (2, 2, 0, 0), mode="replicate"), kernel.view(1, 1, 1, 5))
    y = F.conv2d(F.pad(planes, (0, 0, 2, 2), mode="replicate"), kernel.view(1, 1, 5, 1))
    return x, y


def _difference_x(planes: torch.Tensor) -> torch.Tensor:
    return F.pad(planes[..., 1:] - planes[..., :-1], (0, 1))


def _difference_y(planes: torch.Tensor) -> torch.Tensor:
    return F.pad(planes[..., 1:, :] - planes[..., :-1, :], (0, 0, 0, 1))


def _divergence(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The negative adjoint of the two differences."""
    x, y = F.pad(x[..., :-1], (1, 1)), F.pad(y[..., :-1, :], (0, 0, 1, 1))
    return x[..., 1:] - x[..., :-1] + y[..., 1:, :] - y[..., :-1, :]


def _median(planes: torch.Tensor) -> torch.Tensor:
    """Of 3 x 3 places."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    height, width = planes.shape[-2:]
    shifted = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return torch.stack(shifted).median(dim=0).values
