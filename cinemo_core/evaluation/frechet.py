"""Fréchet distance of two sets of features, each taken for a Gaussian: FVD over I3D features, FID over Inception features.

Sources: Heusel et al. 2017 (FID), Unterthiner et al. 2018 (FVD). Covariances divide by n - 1, as Heusel et al.'s code does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Moments:
    """Sums over features in float64: all that a Gaussian needs, of a size that does not grow with their number.

    count: number of rows. total: [d], their sum. products: [d, d], the sum of their outer products.
    """

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Moments of features [n, d]."""
        features = np.asarray(features, np.float64)
        return cls(len(features), features.sum(0), features.T @ features)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        return (self.products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Raises InputError for fewer than two rows in either.

    tr (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of S C2 S, S being the symmetric root of C1. This form has
    real eigenvalues of at least 0 also where there are fewer clips than features and both matrices are singular.
    """
    if min(first.count, second.count) < 2:
        raise InputError(f"A Fréchet distance needs two clips on each side; there are {first.count} and {second.count}.")
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ second.covariance @ root)
    difference = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(difference @ difference + traces - 2 * np.sqrt(product.clip(0)).sum())
