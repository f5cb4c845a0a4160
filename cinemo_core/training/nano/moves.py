"""Exact moves of a camera over a picture: where each frame looks, as boxes; and the same as grids for latents.

A box is (left, top, right, bottom) in units of the picture's width and height. A pan or a tilt keeps its size, a zoom its
middle and aspect; speed is even, in the logarithm for zooms.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .procedural.dice import Dice

# Way of the camera: right, down, nearer.
WAYS = {
    "the camera pans left": (-1, 0, 0),
    "the camera pans right": (1, 0, 0),
    "the camera tilts up": (0, -1, 0),
    "the camera tilts down": (0, 1, 0),
    "the camera zooms in": (0, 0, 1),
    "the camera zooms out": (0, 0, -1),
}
ZOOMED = tuple(caption for caption, (_, _, nearer) in WAYS.items() if nearer)
SHIFTED = tuple(caption for caption in WAYS if caption not in ZOOMED)


@dataclass(frozen=True)
class Move:
    """A caption of WAYS; how far frame `frames` - 1 has gone, as a share of the view's width or height or, of zooms, as log scale."""

    caption: str
    amount: float

    def boxes(self, view: tuple[float, float, float, float], frames: int) -> Tensor:
        """What each frame sees, [frames, 4], if the first sees `view`."""
        right, down, nearer = WAYS[self.caption]
        left, top, end, bottom = view
        width, height = end - left, bottom - top
        done = torch.linspace(0, 1, frames)[:, None] * self.amount
        x, y = (left + end) / 2 + right * done * width, (top + bottom) / 2 + down * done * height
        half = 0.5 * torch.exp(-nearer * done)
        return torch.cat([x - half * width, y - half * height, x + half * width, y + half * height], dim=1)

    def room(self) -> tuple[float, float, float, float]:
        """How far it leaves its first view to the left, top, right and bottom, in views."""
        right, down, nearer = WAYS[self.caption]
        grown = (math.exp(self.amount) - 1) / 2 if nearer < 0 else 0.0
        return (max(0, -right) * self.amount + grown, max(0, -down) * self.amount + grown,
                max(0, right) * self.amount + grown, max(0, down) * self.amount + grown)  # fmt: skip


def place_view(dice: Dice, move: Move, width: float, height: float) -> tuple[float, float, float, float] | None:
    """A first view of this width and height such that the whole move stays in the picture; None where there is no room."""
    left, top, right, bottom = (share * side for share, side in zip(move.room(), (width, height, width, height), strict=True))
    free_x, free_y = 1 - width - left - right, 1 - height - top - bottom
    if min(free_x, free_y) < 0:
        return None
    x, y = left + dice.uniform(0, free_x), top + dice.uniform(0, free_y)
    return (x, y, x + width, y + height)


def latent_clip(latent: Tensor, boxes: Tensor, width: int, height: int) -> Tensor:
    """What boxes see of the latent of a whole picture [c, H, W], by cubic interpolation: [frames, c, height, width]."""
    left, top, right, bottom = (boxes[:, i, None] for i in range(4))
    x = left + (torch.arange(width) + 0.5) / width * (right - left)  # f w
    y = top + (torch.arange(height) + 0.5) / height * (bottom - top)  # f h
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1) * 2 - 1
    source = latent.float()[None].expand(len(boxes), -1, -1, -1)
    return F.grid_sample(source, grid, mode="bicubic", padding_mode="border", align_corners=False)
