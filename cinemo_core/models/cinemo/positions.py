"""Positions of frames: rotary angles and T5 relative-position buckets.

Pure functions; the numbers follow the official code (github.com/maxin-cn/Cinemo) and LaVie (arXiv 2309.15103).
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
    even, odd = range(0, ROTARY_DIM, 2), range(1, ROTARY_DIM, 2)
    matrices = torch.eye(head_dim, device=device).repeat(frames, 1, 1)
    matrices[:, even, even] = matrices[:, odd, odd] = cos
    matrices[:, even, odd] = sin
    matrices[:, odd, even] = -sin
    return matrices


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


def temporal_positions(frames: int, head_dims: Iterable[int], dtype: torch.dtype, device: torch.device) -> TemporalPositions:
    """Positions 0..frames-1 for heads of these widths; the angles are computed in float32, only their cosines and sines take `dtype`."""
    rotations = {head_dim: rotary_matrices(frames, head_dim, device).to(dtype) for head_dim in set(head_dims)}
    by_distance = [relative_position_bucket(d) for d in range(1 - frames, frames)]
    buckets = torch.tensor([by_distance[frames - 1 - query :][:frames] for query in range(frames)], device=device)
    return TemporalPositions(rotations, buckets)
