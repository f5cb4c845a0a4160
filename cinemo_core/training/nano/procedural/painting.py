"""Puts a scene on a frame: looking at a canvas, covering it with shapes. World units: see `textures`. n moments, h x w pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .shapes import Shape
from .textures import SPAN


def view_points(width: int, height: int) -> Tensor:
    """World coordinates of the pixels of a view that nothing has moved, [h, w, 2]; the longer side spans -1..1."""
    unit = 2 / max(width, height)
    x = (torch.arange(width) + 0.5 - width / 2) * unit
    y = (torch.arange(height) + 0.5 - height / 2) * unit
    return torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)


def look(canvas: Tensor, points: Tensor) -> Tensor:
    """Values of a canvas [c, s, s] at world points [n, h, w, 2]: [n, c, h, w]; it is mirrored at its border."""
    repeated = canvas[None].expand(points.shape[0], -1, -1, -1)
    return F.grid_sample(repeated, points / SPAN, mode="bilinear", padding_mode="reflection", align_corners=False)


def move_camera(points: Tensor, x: Tensor, y: Tensor, zoom: Tensor) -> Tensor:
    """What a camera sees that went by (x, y) and came nearer by exp(zoom), all [n]: [n, h, w, 2]."""
    return points * (-zoom).exp()[:, None, None, None] + torch.stack([x, y], -1)[:, None, None, :]


def cover(image: Tensor, colour: Tensor, amount: Tensor) -> Tensor:
    """Paint over [n, 3, h, w] with a colour that broadcasts to it, where `amount` [n, h, w] says so."""
    return image + amount[:, None] * (colour - image)


def stencil(shape: Shape, points: Tensor, size: float, pixel: float) -> Tensor:
    """How much of each pixel a shape of this size covers, 0..1; `pixel` is a pixel's width in world units."""
    return (0.5 - shape(points / size) * size / (1.5 * pixel)).clamp(0, 1)


def around(points: Tensor, x: Tensor | float, y: Tensor | float, turn: Tensor | float = 0.0) -> Tensor:
    """Points as a thing at (x, y) sees them that has turned clockwise by `turn`; each [n] or a number."""
    x, y, turn = (torch.as_tensor(v, dtype=points.dtype).reshape(-1, 1, 1) for v in (x, y, turn))
    px, py = points[..., 0] - x, points[..., 1] - y
    return torch.stack([px * turn.cos() + py * turn.sin(), py * turn.cos() - px * turn.sin()], dim=-1)


def shade(points: Tensor, colour: Tensor, size: float) -> Tensor:
    """A colour [3], lighter at a thing's upper left: [n, 3, h, w]."""
    light = (1.0 - 0.25 * (points.sum(-1) / (2 * size)).clamp(-1, 1)).clamp(0.6, 1.3)
    return (colour[None, :, None, None] * light[:, None]).clamp(0, 1)


def wave(times: Tensor, frames_per_turn: float, phase: float) -> Tensor:
    """A swing that begins at rest position: sin(a + phase) - sin(phase)."""
    return torch.sin(times * (2 * math.pi / frames_per_turn) + phase) - math.sin(phase)
