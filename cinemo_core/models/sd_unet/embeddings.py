"""Numbers as vectors."""

import math

import torch
from torch import Tensor


def sinusoid(values: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding [n] -> [n, dim], cosines first, float32; frequency k is 10000^(-k / (dim / 2))."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=values.device) * (-math.log(10000) / half))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
