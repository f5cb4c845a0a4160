"""The sinusoids that tell a motion module which frame it sees (arXiv 1706.03762, sec. 3.5)."""

import math

import torch
from torch import Tensor


def position_table(frames: int, dim: int) -> Tensor:
    """[1, frames, dim] float32: sines on even channels, cosines on odd ones."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None]
