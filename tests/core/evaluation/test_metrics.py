"""The metrics as functions of features, against plain numpy and scipy, and against cases with a known answer."""

import numpy as np
import pytest
import scipy.linalg
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.frechet import Moments, frechet_distance
from cinemo_pack.cinemo_core.evaluation.inception import inception_score
from cinemo_pack.cinemo_core.evaluation.kernel import ROWS, kernel_distance
from cinemo_pack.cinemo_core.evaluation.similarity import mean_cosine


def features(seed: int, count: int, width: int, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, width)) @ generator.normal(size=(width, width)) * spread + shift


def frechet_oracle(x: np.ndarray, y: np.ndarray) -> float:
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root))


def kernel_oracle(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a, b):
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


class TestFrechet:
    @pytest.mark.parametrize(("n", "m", "width"), [(40, 40, 5), (200, 60, 12), (33, 90, 1)])
    def test_equal_to_the_matrix_root(self, n, m, width):
        x, y = features(1, n, width), features(2, m, width, spread=1.5, shift=0.3)
        expected = frechet_oracle(x, y) if width > 1 else (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
        assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-9)

    def test_independent_features_by_hand(self):
        """With diagonal covariances the distance is that of means plus that of standard deviations."""
        signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
        x, y = signs * [1, 2, 3], signs * [4, 1, 5] + [1, 0, -2]
        assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(5 + (9 + 1 + 4) * 8 / 7, rel=1e-12)

    def test_fewer_clips_than_features(self):
        """Both covariances are singular; tr (C1 C2)^(1/2) is then the nuclear norm of the product of centred features."""
        x, y = features(3, 9, 30), features(4, 7, 30, shift=0.1)
        a, b = (x - x.mean(0)) / np.sqrt(8), (y - y.mean(0)) / np.sqrt(6)
        expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (a * a).sum() + (b * b).sum() - 2 * np.linalg.norm(a @ b.T, "nuc")
        assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-7)

    def test_same_features(self):
        x = features(5, 50, 8)
        assert abs(frechet_distance(Moments.of(x), Moments.of(x))) < 1e-8

    def test_sums_add_up(self):
        x = features(6, 50, 8)
        parts = Moments.of(x[:7]) + Moments.of(x[7:30]) + Moments.of(x[30:])
        assert parts.count == 50
        assert np.allclose(parts.mean, x.mean(0), rtol=1e-12) and np.allclose(parts.covariance, np.cov(x, rowvar=False), rtol=1e-10)

    def test_single_precision_features_are_summed_in_double(self):
        x = (features(7, 4000, 3) + 1000).astype(np.float32)
        assert np.allclose(Moments.of(x).covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-8)

    def test_one_clip_is_too_few(self):
        with pytest.raises(InputError, match="two clips on each side; there are 1 and 9"):
            frechet_distance(Moments.of(features(1, 1, 3)), Moments.of(features(2, 9, 3)))


class TestKernel:
    @pytest.mark.parametrize(("n", "m"), [(12, 12), (30, 17), (2, 5)])
    def test_equal_to_the_sums_written_out(self, n, m):
        x, y = features(1, n, 4), features(2, m, 4, shift=0.5)
        assert kernel_distance(x, y) == pytest.approx(kernel_oracle(x, y), rel=1e-10)

    def test_more_rows_than_a_block(self):
        x, y = features(1, ROWS + 3, 2, spread=0.1), features(2, 2 * ROWS, 2, spread=0.1, shift=0.2)
        assert kernel_distance(x, y) == pytest.approx(kernel_oracle(x, y), rel=1e-9)

    def test_unbiased(self):
        """Halves of one distribution: the mean over many draws is 0, and single ones fall below."""
        generator = np.random.default_rng(8)
        draws = [kernel_distance(generator.normal(size=(20, 3)), generator.normal(size=(20, 3))) for _ in range(400)]
        assert abs(np.mean(draws)) < 4 * np.std(draws) / 20 and min(draws) < 0

    def test_one_clip_is_too_few(self):
        with pytest.raises(InputError, match="there are 9 and 1"):
            kernel_distance(features(1, 9, 3), features(2, 1, 3))


class TestInceptionScore:
    @pytest.mark.parametrize("splits", [1, 3, 10])
    def test_equal_to_the_formula(self, splits):
        logits = features(1, 47, 6)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        scores = []
        for part in (p[i * 47 // splits : (i + 1) * 47 // splits] for i in range(splits)):
            scores.append(np.exp(np.mean([(row * (np.log(row) - np.log(part.mean(0)))).sum() for row in part])))
        assert inception_score(p, splits) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-10)

    def test_the_ends_of_the_scale(self):
        assert inception_score(np.full((20, 5), 0.2), 2) == pytest.approx((1, 0), abs=1e-12)  # says nothing of any clip
        assert inception_score(np.tile(np.eye(5), (4, 1)), 2) == pytest.approx((5, 0), abs=1e-12)  # sure, and all classes

    def test_fewer_clips_than_splits(self):
        with pytest.raises(InputError, match="there are 5 clips for 10 splits"):
            inception_score(np.full((5, 5), 0.2), 10)


def test_mean_cosine():
    anchor, frames = np.array([3.0, 4.0]), np.array([[6.0, 8.0], [-4.0, 3.0], [-3.0, -4.0], [1.0, 0.0]])
    assert mean_cosine(anchor.astype(np.float32), frames.astype(np.float32)) == pytest.approx((1 + 0 - 1 + 0.6) / 4, abs=1e-6)
