"""Operations on planes [n, c, h, w] that flow, trust and transfer share: resampling, warping, blurring.

A flow is [n, 2, h, w], x before y, in pixels of its own size: the value at a place says how far away the other frame shows the same.
"""

import math

import torch
import torch.nn.functional as F

LOBES = 3  # of the Lanczos kernel, as in Pillow
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def lanczos(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resample to height x width with the Lanczos kernel of Pillow, which widens when shrinking."""
    for side, size in ((-2, height), (-1, width)):
        if planes.shape[side] != size:
            weights = _lanczos_weights(planes.shape[side], size).to(planes)
            planes = weights @ planes if side == -2 else planes @ weights.T
    return planes


def _lanczos_weights(source: int, target: int) -> torch.Tensor:
    """[target, source]: what each source pixel adds to each target pixel. In float64 on the CPU, for some devices have none."""
    scale = source / target
    reach = max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64, device="cpu")[:, None] + 0.5) * scale
    distance = (torch.arange(source, dtype=torch.float64, device="cpu") + 0.5 - centres) / reach
    weights = torch.sinc(distance) * torch.sinc(distance / LOBES) * (distance.abs() < LOBES)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def bilinear(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resample to height x width, averaging where it shrinks."""
    return F.interpolate(planes, size=(height, width), mode="bilinear", antialias=True)


def resize_flow(flow: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A flow at another size, its lengths in pixels of that size."""
    ratio = flow.new_tensor((width / flow.shape[-1], height / flow.shape[-2])).view(1, 2, 1, 1)
    return bilinear(flow, height, width) * ratio


def places(flow: torch.Tensor) -> torch.Tensor:
    """Where each pixel comes from, [n, 2, h, w] in pixels."""
    y, x = (torch.arange(size, dtype=flow.dtype, device=flow.device) for size in flow.shape[-2:])
    return flow + torch.stack(torch.meshgrid(x, y, indexing="xy"))


def warp(planes: torch.Tensor, flow: torch.Tensor, mode: str = "bicubic") -> torch.Tensor:
    """Fetch each pixel from where the flow points, the border continued beyond the frame; the planes may be finer than the flow."""
    height, width = flow.shape[-2:]
    span = flow.new_tensor((2 / width, 2 / height)).view(1, 2, 1, 1)
    grid = ((places(flow) + 0.5) * span - 1).movedim(1, -1)  # n 2 h w -> n h w 2
    return F.grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=False)


def inside(flow: torch.Tensor) -> torch.Tensor:
    """1 where the flow points into the frame, else 0: [n, 1, h, w]."""
    height, width = flow.shape[-2:]
    x, y = places(flow).split(1, dim=1)
    return ((x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)).to(flow.dtype)


def grey(planes: torch.Tensor) -> torch.Tensor:
    """Luma of RGB planes: [n, 1, h, w]."""
    return (planes * planes.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def gaussian(planes: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur with a Gaussian of `sigma` pixels, cut off at 2.5 sigma, the border continued."""
    reach = max(1, math.ceil(2.5 * sigma))
    weights = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-reach, reach + 1)]
    kernel = planes.new_tensor(weights) / sum(weights)
    rows = planes.flatten(0, 1)[:, None]  # n c h w -> (n c) 1 h w
    rows = F.conv2d(F.pad(rows, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    rows = F.conv2d(F.pad(rows, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))
    return rows.view_as(planes)
