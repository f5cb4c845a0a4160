"""Reads from a clip in which direction it moves, by optical flow (Le Besnerais and Champagnat 2005, as scikit-image has it).

Pictures have x to the right and y down; a flow (x, y) says where what is at a pixel goes until the next compared frame.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

LUMA = (0.299, 0.587, 0.114)
PRESMOOTHING = 0.7  # pixels; compressed pictures have fine noise that moves with nothing
RADIUS = 5  # of the window in which a flow is even, pixels


class GlobalMotion(NamedTuple):
    """The motion of a whole picture per compared pair, from a least-squares fit: each in pixels at the picture's mean radius."""

    right: float
    down: float
    outwards: float
    clockwise: float


def grey(frames: np.ndarray) -> np.ndarray:
    """Luminance [f, h, w] of frames uint8 [f, h, w, 3], in 0..1, lightly smoothed."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(frames @ np.array(LUMA) / 255, (0, PRESMOOTHING, PRESMOOTHING))


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where the pixels of `first` [h, w] are in `second`: [2, h, w], x then y, in pixels."""
    from skimage.registration import optical_flow_ilk

    return optical_flow_ilk(first, second, radius=RADIUS, num_warp=12)[::-1]


def chained(luminance: np.ndarray) -> np.ndarray:
    """Where the pixels of the first frame are in the last of [f, h, w], from frame to frame: [2, h, w], x then y, in pixels.

    It finds motion that is too far for one step of `flow`. Errors add up.
    """
    from scipy.ndimage import map_coordinates

    y, x = np.mgrid[0 : luminance.shape[1], 0 : luminance.shape[2]].astype(np.float64)
    total = np.zeros((2, *x.shape))
    for first, second in pairwise(luminance):
        places = np.stack([y + total[1], x + total[0]])
        total += np.stack([map_coordinates(part, places, order=1, mode="nearest") for part in flow(first, second)])
    return total


def warp_back(frame: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A later frame [h, w, c] as it was before the motion [2, h, w], and which pixels can be known, bool [h, w]."""
    from scipy.ndimage import map_coordinates

    height, width = frame.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    places = np.stack([y + motion[1], x + motion[0]])
    inside = (places[0] >= 0) & (places[0] <= height - 1) & (places[1] >= 0) & (places[1] <= width - 1)
    warped = [map_coordinates(frame[..., c].astype(np.float64), places, order=1, mode="nearest") for c in range(frame.shape[-1])]
    return np.stack(warped, axis=-1), inside


def global_motion(frames: np.ndarray) -> GlobalMotion:
    """Fit shift, scale and turn to the flow of each consecutive pair of a clip uint8 [f, h, w, 3]; their sum over the pairs.

    Pixels count by the strength of their edges, for a flow means nothing where nothing is seen.
    """
    luminance = grey(frames)
    height, width = luminance.shape[1:]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = (x - (width - 1) / 2).ravel(), (y - (height - 1) / 2).ravel()
    radius = np.sqrt((x * x + y * y).mean())
    one, none = np.ones_like(x), np.zeros_like(x)
    design = np.stack([np.stack([one, none, x / radius, -y / radius], 1), np.stack([none, one, y / radius, x / radius], 1)])  # xy n 4
    total = np.zeros(4)
    for first, second in pairwise(luminance):
        moved = flow(first, second).reshape(2, -1)
        weight = np.hypot(*np.gradient(first)).ravel()
        normal = np.einsum("ani,n,anj->ij", design, weight, design) + 1e-9 * np.eye(4)
        total += np.linalg.solve(normal, np.einsum("ani,n,an->i", design, weight, moved))
    return GlobalMotion(*total)


def local_shift(frames: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """How far what is in `mask`, bool [h, w] of the first frame, goes to the right and down in a clip uint8 [f, h, w, 3].

    The mask follows what it covers: it is moved on by the median of the flow in it.
    """
    luminance = grey(frames)
    rows, columns = np.nonzero(mask)
    right = down = 0.0
    for first, second in pairwise(luminance):
        y = np.clip(np.round(rows + down).astype(int), 0, mask.shape[0] - 1)
        x = np.clip(np.round(columns + right).astype(int), 0, mask.shape[1] - 1)
        moved = flow(first, second)
        right, down = right + float(np.median(moved[0, y, x])), down + float(np.median(moved[1, y, x]))
    return right, down
