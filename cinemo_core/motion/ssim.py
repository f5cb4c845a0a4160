"""Structural similarity of two images (Wang et al. 2004), the measure of motion in Cinemo (paper sec. 3.2, Eq. 2).

Defined as the authors of SSIM recommend and as scikit-image computes it with gaussian_weights=True, sigma=1.5 and
use_sample_covariance=False: an 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, values in 0..1 (data range 1),
population covariance, windows that lie inside the image, and the mean over these windows and the channels.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..errors import InputError
from ..shapes import MIN_FRAMES, check_image

SIGMA = 1.5
TRUNCATE = 3.5  # the window ends after this many sigmas
RADIUS = int(TRUNCATE * SIGMA + 0.5)
WINDOW = 2 * RADIUS + 1
C1, C2 = 0.01**2, 0.03**2  # (K * data range) squared, with a data range of 1


class LocalMoments(NamedTuple):
    """An image [h, w, c] in float64 with the local means of its values and of their squares, [h - 10, w - 10, c]."""

    image: np.ndarray
    mean: np.ndarray
    mean_square: np.ndarray


def ssim(first: torch.Tensor, second: torch.Tensor) -> float:
    """SSIM of two images [h, w, c] in 0..1: 1 where they are equal, around 0 where they share nothing.

    Raises InputError if the sizes differ or a side is shorter than 11 pixels.
    """
    return similarity(local_moments(first), local_moments(second))


def ssim_of_pairs(frames: Iterable[torch.Tensor]) -> Iterator[float]:
    """SSIM of each frame [h, w, c] with the one before it; two frames are held at a time. Raises InputError as `ssim` does."""
    moments = map(local_moments, frames)
    before = next(moments)
    for after in moments:
        yield similarity(before, after)
        before = after


def local_moments(image: torch.Tensor) -> LocalMoments:
    """The part of SSIM that belongs to one image [h, w, c] in 0..1; raises InputError if a side is shorter than 11 pixels."""
    check_measurable(image.shape[1], image.shape[0])
    values = image.detach().to("cpu", torch.float64).numpy()
    return LocalMoments(values, _local_mean(values), _local_mean(values * values))


def similarity(first: LocalMoments, second: LocalMoments) -> float:
    """SSIM of two images by their moments; raises InputError if the sizes differ."""
    if first.image.shape != second.image.shape:
        sizes = [f"{width}x{height} with {channels} channels" for height, width, channels in (first.image.shape, second.image.shape)]
        raise InputError(f"The images are {sizes[0]} and {sizes[1]}; SSIM compares images of one size: resize one of them.")
    product = first.mean * second.mean
    squares = first.mean * first.mean + second.mean * second.mean
    covariance = _local_mean(first.image * second.image) - product
    variances = first.mean_square + second.mean_square - squares
    scores = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return float(scores.mean())


def check_measurable(width: int, height: int) -> None:
    """Raise InputError unless the window fits into an image of this size."""
    if min(width, height) < WINDOW:
        raise InputError(f"The images are {width}x{height}; SSIM needs at least {WINDOW} pixels in each direction: use larger ones.")


def check_frames(images: torch.Tensor) -> None:
    """Raise InputError unless `images` is a clip in pixels: at least 2 filled, finite frames, [f, h, w, 3 or 4]."""
    check_image(images[:1] if images.ndim == 4 else images)
    if images.shape[0] < MIN_FRAMES:
        raise InputError("The clip has 1 frame; motion is measured between frames: connect all frames of a clip, at least 2.")
    for index, frame in enumerate(images):  # one at a time, as the temporaries of a long clip would be as large as the clip
        if not frame.isfinite().all():
            raise InputError(f"Frame {index} of the clip holds NaN or infinite values; check the node that made it.")


def _local_mean(values: np.ndarray) -> np.ndarray:
    """Gaussian mean around each pixel whose window is inside the image: [h, w, c] -> [h - 10, w - 10, c]."""
    from scipy.ndimage import gaussian_filter

    mean = gaussian_filter(values, (SIGMA, SIGMA, 0), truncate=TRUNCATE)
    return mean[RADIUS:-RADIUS, RADIUS:-RADIUS]
