"""Kernel video distance (KVD): squared maximum mean discrepancy of I3D features under a cubic kernel.

Source: Unterthiner et al. 2018, with the kernel and the unbiased estimate of Binkowski et al. 2018 (Eq. 4) over all clips
at once: no subsets are drawn, so nothing is random.
"""

import numpy as np

from ..errors import InputError

ROWS = 256  # of the kernel matrix in memory at a time


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """MMD^2 of features [n, d] and [m, d] under k(x, y) = (x . y / d + 1)^3. Raises InputError for fewer than two rows.

    The estimate is unbiased, so it can be a little below 0 where the sets are equal.
    """
    if min(len(first), len(second)) < 2:
        raise InputError(f"A kernel distance needs two clips on each side; there are {len(first)} and {len(second)}.")
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    n, m = len(x), len(y)
    within_x = (_kernel_sum(x, x) - _own_kernel(x).sum()) / (n * (n - 1))
    within_y = (_kernel_sum(y, y) - _own_kernel(y).sum()) / (m * (m - 1))
    return float(within_x + within_y - 2 * _kernel_sum(x, y) / (n * m))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    return sum(float(((x[i : i + ROWS] @ y.T / x.shape[1] + 1) ** 3).sum()) for i in range(0, len(x), ROWS))


def _own_kernel(x: np.ndarray) -> np.ndarray:
    """k(x, x) of each row: what an unbiased estimate leaves out."""
    return ((x * x).sum(1) / x.shape[1] + 1) ** 3
