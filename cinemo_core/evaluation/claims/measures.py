"""What is measured of a clip, as pure functions. Frames are uint8 [f, h, w, 3]; values are on the scale 0..255."""

import numpy as np

from .flow import flow, grey, warp_back


def largest_jump(frames: np.ndarray) -> float:
    """The largest mean absolute difference of two consecutive frames."""
    return float(np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3)).max())


def colour_shift(frames: np.ndarray, image: np.ndarray) -> float:
    """How far the mean colour of the frames lies from the input image's, [h, w, 3]: mean distance in RGB."""
    means = frames.astype(np.float64).mean(axis=(1, 2))
    return float(np.linalg.norm(means - image.astype(np.float64).mean(axis=(0, 1)), axis=-1).mean())


def unrest(frames: np.ndarray) -> float:
    """Mean squared second difference in time: 0 for a clip that changes evenly."""
    return float(np.square(np.diff(frames.astype(np.float64), n=2, axis=0)).mean())


def identity(frames: np.ndarray, image: np.ndarray) -> float:
    """PSNR of the frames against the input image [h, w, 3], in dB, each warped back to it by its own optical flow.

    What the motion brings into view is left out. So motion costs nothing, and what is lost of the image costs.
    """
    luminance = grey(np.concatenate([image[None], frames]))
    errors = []
    for frame, now in zip(frames, luminance[1:], strict=True):
        warped, known = warp_back(frame, flow(luminance[0], now))
        if known.any():
            errors.append(np.square(warped - image.astype(np.float64))[known].mean())
    return float(10 * np.log10(255**2 / max(np.mean(errors), 1e-6)))


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
