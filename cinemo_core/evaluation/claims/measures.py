"""What is measured of a clip, as pure functions. Frames are uint8 [f, h, w, 3]; values are on the scale 0..255."""

from collections.abc import Iterator

import numpy as np

from .flow import chained, flow, grey, warp_back

REGIONS = 4  # a side


def largest_jump(frames: np.ndarray) -> float:
    """The largest mean absolute difference of two consecutive frames."""
    return float(np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3)).max())


def colour_shift(frames: np.ndarray, image: np.ndarray) -> float:
    """How far the colours of the frames lie from the input image's, [h, w, 3], region by region: mean distance in RGB.

    The frames are warped back to the image by their own optical flow, so motion costs nothing; what it brings into view is
    left out. By regions, as the mean colour of the whole is what every low pass keeps, DCTInit's and FFTInit's alike.
    """
    from einops import reduce

    distance = share = 0.0
    for warped, known in warped_back(frames, image):
        difference = np.where(known[..., None], warped - image, 0.0)
        colour = reduce(difference, "(i h) (j w) c -> i j c", "mean", i=REGIONS, j=REGIONS)
        distance += np.linalg.norm(colour, axis=-1).mean()
        share += known.mean()
    return float(distance / max(share, 1e-6))


def unrest(frames: np.ndarray) -> float:
    """Mean squared second difference in time: 0 for a clip that changes evenly."""
    return float(np.square(np.diff(frames.astype(np.float64), n=2, axis=0)).mean())


def identity(frames: np.ndarray, image: np.ndarray) -> float:
    """PSNR of the frames against the input image [h, w, 3], in dB, each warped back to it by its own optical flow.

    What the motion brings into view is left out. So motion costs nothing, and what is lost of the image costs.
    """
    errors = [np.square(warped - image)[known].mean() for warped, known in warped_back(frames, image) if known.any()]
    return psnr(float(np.mean(errors)))


def identity_at_the_end(frames: np.ndarray) -> float:
    """PSNR of the last frame against the first, in dB, warped back to it by the flow of all frames between; else as `identity`."""
    warped, known = warp_back(frames[-1], chained(grey(frames)))
    return psnr(float(np.square(warped - frames[0])[known].mean())) if known.any() else 0.0


def psnr(squared_error: float) -> float:
    """In dB, of a mean squared error."""
    return float(10 * np.log10(255**2 / max(squared_error, 1e-6)))


def warped_back(frames: np.ndarray, image: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame as it was before its motion from the image, float [h, w, 3], and which pixels of it are known, bool [h, w]."""
    luminance = grey(np.concatenate([image[None], frames]))
    for frame, now in zip(frames, luminance[1:], strict=True):
        yield warp_back(frame, flow(luminance[0], now))


def spearman(requested: np.ndarray, measured: np.ndarray) -> float:
    """Rank correlation; 0 where what was measured is always the same."""
    from scipy.stats import spearmanr

    if np.ptp(measured) == 0:
        return 0.0
    return float(spearmanr(requested, measured).statistic)


def sign_test(differences: np.ndarray) -> float:
    """Probability of a result as one-sided if better and worse were as likely (ties left out): the paired sign test."""
    from scipy.stats import binomtest

    better, counted = int((differences > 0).sum()), int((differences != 0).sum())
    return float(binomtest(better, counted, alternative="greater").pvalue) if counted else 1.0
