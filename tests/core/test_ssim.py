"""SSIM against scikit-image, and what can be said of it without an oracle."""

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion.ssim import check_frames, ssim, ssim_of_pairs

TOLERANCE = 1e-6


def oracle(first: torch.Tensor, second: torch.Tensor) -> float:
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": -1}
    return structural_similarity(first.double().numpy(), second.double().numpy(), **options)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def waves(height: int, width: int, shift: float = 0.0) -> torch.Tensor:
    """A smooth picture [h, w, 3] in 0..1, moved to the right by `shift` pixels."""
    y, x = torch.arange(height)[:, None].double(), torch.arange(width)[None].double() - shift
    planes = [0.5 + 0.25 * torch.sin(x / (5 + c)) + 0.25 * torch.cos((x + y) / (9 - c)) for c in range(3)]
    return torch.stack(planes, dim=-1).float()


@pytest.mark.parametrize("size", [(11, 11), (11, 64), (12, 30), (37, 53), (40, 64), (64, 40)])
@pytest.mark.parametrize("strength", [0.001, 0.05, 0.5, 1.0])
def test_equal_to_scikit_image(size, strength):
    picture = waves(*size)
    other = ((1 - strength) * picture + strength * noise(1, *size, 3)).clamp(0, 1)
    assert abs(ssim(picture, other) - oracle(picture, other)) <= TOLERANCE


@pytest.mark.parametrize("shift", [0.1, 1.0, 7.0])
def test_equal_to_scikit_image_for_moved_pictures(shift):
    assert abs(ssim(waves(40, 64), waves(40, 64, shift)) - oracle(waves(40, 64), waves(40, 64, shift))) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_measured_in_float64(dtype):
    first, second = waves(20, 30).to(dtype), waves(20, 30, 0.5).to(dtype)
    assert abs(ssim(first, second) - oracle(first, second)) <= TOLERANCE


def test_equal_pictures_score_exactly_one():
    for picture in (waves(40, 64), noise(0, 16, 16, 3), torch.zeros(16, 16, 3), torch.ones(16, 16, 3)):
        assert ssim(picture, picture.clone()) == 1.0


def test_one_window_by_hand():
    """In an 11x11 picture there is one window: weighted moments over all its pixels."""
    first, second = noise(2, 11, 11, 1).double(), noise(3, 11, 11, 1).double()
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = torch.from_numpy(np.outer(line, line) / line.sum() ** 2)[..., None]
    a, b = float((weights * first).sum()), float((weights * second).sum())
    variance_a, variance_b = float((weights * (first - a) ** 2).sum()), float((weights * (second - b) ** 2).sum())
    covariance = float((weights * (first - a) * (second - b)).sum())
    expected = (2 * a * b + 1e-4) * (2 * covariance + 9e-4) / ((a * a + b * b + 1e-4) * (variance_a + variance_b + 9e-4))
    assert math.isclose(ssim(first, second), expected, abs_tol=1e-12)


def test_order_does_not_matter_and_inversion_is_below_zero():
    picture, other = waves(30, 30), noise(4, 30, 30, 3)
    assert math.isclose(ssim(picture, other), ssim(other, picture), abs_tol=1e-12)
    assert ssim(picture, 1 - picture) < 0


def test_pairs_are_neighbours():
    frames = [waves(20, 24, shift) for shift in (0.0, 0.5, 3.0, 3.0)]
    expected = [ssim(before, after) for before, after in pairwise(frames)]
    assert list(ssim_of_pairs(frames)) == expected and expected[2] == 1.0


def test_memory_does_not_grow_with_the_clip():
    def peak(frames: int) -> int:
        tracemalloc.start()
        try:
            scores = list(ssim_of_pairs(waves(48, 48, shift) for shift in range(frames)))
            assert len(scores) == frames - 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(3)  # imports
    assert peak(15) < 1.2 * peak(3)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((20, 20, 3), (20, 24, 3), "The images are 20x20 with 3 channels and 24x20 with 3 channels; .* one size: resize one"),
        ((20, 20, 3), (20, 20, 4), "3 channels and 20x20 with 4 channels"),
        ((10, 20, 3), (10, 20, 3), "20x10; SSIM needs at least 11 pixels"),
        ((20, 20, 3), (20, 10, 3), "10x20; SSIM needs at least 11 pixels"),
    ],
)
def test_sizes_that_cannot_be_compared(first, second, message):
    with pytest.raises(InputError, match=message):
        ssim(torch.zeros(first), torch.zeros(second))


def not_finite(value: float, frame: int) -> torch.Tensor:
    clip = torch.zeros(4, 16, 16, 3)
    clip[frame, 3, 5, 1] = value
    return clip


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (torch.zeros(1, 16, 16, 3), "1 frame; .* all frames of a clip, at least 2"),
        (torch.zeros(0, 16, 16, 3), "empty"),
        (torch.zeros(4, 0, 16, 3), "empty"),
        (torch.zeros(16, 16, 3), r"\[16, 16, 3\]; expected \[batch"),
        (torch.zeros(4, 16, 16, 1), "1 channels"),
        (not_finite(float("nan"), 0), "NaN"),
        (not_finite(float("nan"), 2), "Frame 2 .* NaN"),
        (not_finite(float("inf"), 3), "Frame 3 .* infinite"),
    ],
)
def test_clips_that_cannot_be_measured(clip, message):
    with pytest.raises(InputError, match=message):
        check_frames(clip)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_clip_that_can(channels):
    check_frames(torch.rand(2, 16, 16, channels))
