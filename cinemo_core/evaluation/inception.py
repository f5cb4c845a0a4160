"""Inception score (IS) of generated clips from the class probabilities of C3D.

Sources: Salimans et al. 2016 (score and splits), Saito et al. 2020 (C3D fine-tuned on UCF-101 as the classifier).
"""

import numpy as np

from ..errors import InputError


def check_splits(clips: int, splits: int) -> None:
    """Raise InputError if there are fewer clips than splits."""
    if clips < splits:
        raise InputError(
            f"The inception score needs at least as many clips as splits, and there are {clips} clips for {splits} splits; "
            "lower --splits or take more clips."
        )


def inception_score(probabilities: np.ndarray, splits: int) -> tuple[float, float]:
    """Mean and standard deviation over `splits` equal parts of exp(mean KL(p(y|x) || p(y))).

    probabilities: [n, classes], in an order that is random already. A probability of 0 adds 0. Raises InputError for fewer
    rows than splits.
    """
    count = len(probabilities)
    check_splits(count, splits)
    rows = np.asarray(probabilities, np.float64)
    scores = [_score(rows[i * count // splits : (i + 1) * count // splits]) for i in range(splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(rows: np.ndarray) -> float:
    from scipy.special import rel_entr

    return float(np.exp(rel_entr(rows, rows.mean(0)).sum(1).mean()))
