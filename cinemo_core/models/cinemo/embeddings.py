"""Positions and scalars as vectors: sinusoids, rotary angles, T5 relative-position buckets.

Pure functions; the numbers follow the official code (github.com/maxin-cn/Cinemo) and LaVie (arXiv 2309.15103).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

ROTARY_DIM = 32  # leading channels of each head that turn; the rest pass through
NUM_BUCKETS = 32
MAX_DISTANCE = 32


class TemporalPositions(NamedTuple):
    """What temporal attention needs to know about frame positions, computed once per evaluation.

    cos, sin: [f, ROTARY_DIM / 2]; buckets: [f, f] int64, query frame first.
    """

    cos: Tensor
    sin: Tensor
    buckets: Tensor


def sinusoid(values: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding [n] -> [n, dim], cosines first, float32; frequency k is 10000^(-k / (dim / 2))."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=values.device) * (-math.log(10000) / half))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary_frequencies(device: torch.device | None = None) -> Tensor:
    """Angular frequencies of the rotary embedding (arXiv 2104.09864, Eq. 15), [ROTARY_DIM / 2] float32."""
    return 10000.0 ** (torch.arange(0, ROTARY_DIM, 2, dtype=torch.float32, device=device) / -ROTARY_DIM)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first ROTARY_DIM channels of each head, in interleaved pairs (2k, 2k + 1), by the angle of their frame.

    x: [n, f, heads, d]; cos, sin: [f, ROTARY_DIM / 2].
    """
    even, odd = x[..., 0:ROTARY_DIM:2], x[..., 1:ROTARY_DIM:2]
    cos, sin = cos[:, None], sin[:, None]  # one angle for all heads
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
    return torch.cat([turned, x[..., ROTARY_DIM:]], dim=-1)


def relative_position_bucket(distance: int) -> int:
    """Bucket of a signed frame distance (key minus query): T5, bidirectional (arXiv 1910.10683, sec. 2.1).

    Half of the buckets serve each direction; of those, half are exact and half logarithmic up to MAX_DISTANCE. The
    logarithm is compared in integers, so no rounding decides a bucket.
    """
    per_direction = NUM_BUCKETS // 2
    exact = per_direction // 2
    offset = per_direction if distance > 0 else 0
    d = abs(distance)
    if d < exact:
        return offset + d
    # floor(exact * log(d / exact) / log(MAX_DISTANCE / exact)) >= k  <=>  (d / exact)^exact >= (MAX_DISTANCE / exact)^k
    passed = sum(d**exact * exact**k >= exact**exact * MAX_DISTANCE**k for k in range(1, exact))
    return offset + exact + passed


def temporal_positions(frames: int, dtype: torch.dtype, device: torch.device) -> TemporalPositions:
    """Positions 0..frames-1; the angles are computed in float32 and only their cosines and sines take `dtype`."""
    angles = torch.arange(frames, dtype=torch.float32, device=device)[:, None] * rotary_frequencies(device)
    by_distance = [relative_position_bucket(d) for d in range(1 - frames, frames)]
    buckets = torch.tensor([by_distance[frames - 1 - query :][:frames] for query in range(frames)], device=device)
    return TemporalPositions(angles.cos().to(dtype), angles.sin().to(dtype), buckets)
