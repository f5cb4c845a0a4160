"""Positions of frames: rotary angles and T5 relative-position buckets.

Pure functions; the numbers follow the official code (github.com/maxin-cn/Cinemo) and LaVie (arXiv 2309.15103). All tables are
computed on the device that uses them: a copy to a GPU, however small, would wait for the work that is queued there.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

ROTARY_DIM = 32  # leading channels of each head that turn; the rest pass through
NUM_BUCKETS = 32
MAX_DISTANCE = 32


class TemporalPositions(NamedTuple):
    """What temporal attention needs to know about frame positions, computed once per evaluation.

    rotations: channels of a head -> [f, channels, channels], see `rotary_matrices`; buckets: [f, f] int64, query frame first.
    """

    rotations: dict[int, Tensor]
    buckets: Tensor


def rotary_frequencies(device: torch.device | None = None) -> Tensor:
    """Angular frequencies of the rotary embedding (arXiv 2104.09864, Eq. 15), [ROTARY_DIM / 2] float32."""
    return 10000.0 ** (torch.arange(0, ROTARY_DIM, 2, dtype=torch.float32, device=device) / -ROTARY_DIM)


def rotary_matrices(frames: int, head_dim: int, device: torch.device | None = None) -> Tensor:
    """The rotary embedding as one matrix per frame, [frames, head_dim, head_dim] float32, to multiply heads from the right.

    It turns the first ROTARY_DIM channels in interleaved pairs (2k, 2k + 1) by the angle of their frame and passes on the
    rest (arXiv 2104.09864, Eq. 15). Heads are narrow: one product of matrices is cheaper than the gathering of pairs.
    """
    angles = torch.arange(frames, dtype=torch.float32, device=device)[:, None] * rotary_frequencies(device)
    cos, sin = angles.cos(), angles.sin()
    matrices = torch.eye(head_dim, device=device).repeat(frames, 1, 1)
    same, above, below = (matrices.diagonal(offset, dim1=1, dim2=2)[:, :ROTARY_DIM] for offset in (0, 1, -1))
    same[:, 0::2] = same[:, 1::2] = cos  # (2k, 2k) and (2k + 1, 2k + 1)
    above[:, 0::2] = sin  # (2k, 2k + 1)
    below[:, 0::2] = -sin  # (2k + 1, 2k)
    return matrices


def relative_position_buckets(distance: Tensor) -> Tensor:
    """Buckets of signed frame distances (key minus query), int64: T5, bidirectional (arXiv 1910.10683, sec. 2.1).

    Half of the buckets serve each direction; of those, half are exact and half logarithmic up to MAX_DISTANCE.
    """
    per_direction = NUM_BUCKETS // 2
    exact = per_direction // 2
    d = distance.abs()
    bucket = (distance > 0) * per_direction + d.clamp(max=exact)
    for start in logarithmic_starts(exact):
        bucket = bucket + (d >= start)
    return bucket


def logarithmic_starts(exact: int) -> list[int]:
    """The least distance in each logarithmic bucket after the first; compared in integers, so no rounding decides a bucket.

    floor(exact * log(d / exact) / log(MAX_DISTANCE / exact)) >= k  <=>  (d / exact)^exact >= (MAX_DISTANCE / exact)^k
    """
    return [
        next(d for d in range(exact, MAX_DISTANCE + 1) if d**exact * exact**k >= exact**exact * MAX_DISTANCE**k) for k in range(1, exact)
    ]


def temporal_positions(frames: int, head_dims: Iterable[int], dtype: torch.dtype, device: torch.device) -> TemporalPositions:
    """Positions 0..frames-1 for heads of these widths; the angles are computed in float32, only their cosines and sines take `dtype`."""
    rotations = {head_dim: rotary_matrices(frames, head_dim, device).to(dtype) for head_dim in set(head_dims)}
    index = torch.arange(frames, device=device)
    buckets = relative_position_buckets(index[None, :] - index[:, None])
    return TemporalPositions(rotations, buckets)
