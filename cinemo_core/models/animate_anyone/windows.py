"""Which frames of a long clip the network sees together; predictions of a frame are averaged over its windows."""

import math
from collections.abc import Sequence

from torch import Tensor

from ...errors import InputError


def check_windows(length: int, overlap: int, stride: int, positions: int) -> None:
    """Raise InputError unless windows of these frames can be made, and are no longer than the network's table of positions."""
    if not 1 <= length <= positions:
        raise InputError(
            f"Windows of {length} frames were asked for, but the motion modules know {positions} positions; choose 1 to {positions} frames."
        )
    if not 0 <= overlap < length:
        raise InputError(f"Windows of {length} frames cannot overlap by {overlap}; choose 0 to {length - 1}.")
    if stride < 1:
        raise InputError(f"The stride of the windows is {stride}; choose 1 or more.")


def looped_windows(frames: int, length: int, overlap: int, stride: int = 1) -> list[list[int]]:
    """The re-implementation's: of every stride 1, 2, 4, ... up to 2^(stride - 1) and not much longer than the clip, from the first frame
    on, the last ones wrapping to the first frames, which ties the end of the clip to its beginning. The same at each step."""
    if frames <= length:
        return [list(range(frames))]
    strides = min(stride, math.ceil(math.log2(frames / length)) + 1)
    return [
        [frame % frames for frame in range(start, start + length * step, step)]
        for step in (2**i for i in range(strides))
        for start in range(0, frames, length * step - overlap)
    ]


def open_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """From the first frame to the last, without a wrap; the last window is moved back to be as long as the others."""
    if frames <= length:
        return [list(range(frames))]
    starts = range(0, frames - overlap, length - overlap)
    return [list(range(start, start + length)) for start in (min(start, frames - length) for start in starts)]


def average(predictions: Sequence[Tensor], windows: Sequence[Sequence[int]], frames: int) -> Tensor:
    """Predictions [f, ...] of windows -> [frames, ...]. Of a frame that a window holds twice, the last prediction counts."""
    total = predictions[0].new_zeros(frames, *predictions[0].shape[1:])
    coverage = total.new_zeros(frames, *[1] * (total.ndim - 1))
    for prediction, window in zip(predictions, windows, strict=True):
        last = {frame: place for place, frame in enumerate(window)}
        own = list(last)
        total[own] += prediction[list(last.values())]
        coverage[own] += 1
    return total / coverage
