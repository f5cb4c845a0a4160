"""Motion buckets, network ids, and the score of a clip."""

from itertools import pairwise

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion.buckets import (
    BUCKETS,
    MotionScore,
    bucket_of_motion_id,
    motion_id,
    motion_id_of_ssim,
    score_clip,
    ssim_range,
)
from cinemo_pack.cinemo_core.motion.ssim import ssim
from cinemo_pack.cinemo_core.resize import resize_image


def nothing(done: int, total: int) -> None:
    pass


def score(clip: torch.Tensor, width: int = 64, height: int = 40, resize: str = "cover", frame_stride: int = 1, progress=nothing):
    return score_clip(clip, width, height, resize, frame_stride, progress)


def moving(speed: float, frames: int = 4, height: int = 40, width: int = 64) -> torch.Tensor:
    """A clip [f, h, w, 3] in 0..1 of a texture that moves to the right by `speed` pixels per frame."""
    generator = torch.Generator().manual_seed(0)
    angle, phase = (torch.rand(24, 3, generator=generator) * 6.2832 for _ in range(2))
    frequency = 0.1 + 0.5 * torch.rand(24, 3, generator=generator)
    x = torch.arange(width)[None, None, :, None, None] - speed * torch.arange(frames)[:, None, None, None, None]
    y = torch.arange(height)[None, :, None, None, None]
    sines = torch.sin(frequency * (x * angle.cos() + y * angle.sin()) + phase)  # f h w sines c
    return (0.5 + 0.08 * sines.sum(-2)).clamp(0, 1)


def test_twenty_buckets_map_onto_the_ids_of_the_demo():
    assert [motion_id(bucket) for bucket in range(BUCKETS)] == list(range(99, 79, -1))


def test_inverse_is_exact_inside_and_clamped_outside():
    assert [bucket_of_motion_id(motion_id(bucket)) for bucket in range(BUCKETS)] == list(range(BUCKETS))
    assert bucket_of_motion_id(100) == bucket_of_motion_id(99) == 0
    assert bucket_of_motion_id(8) == bucket_of_motion_id(80) == BUCKETS - 1
    assert bucket_of_motion_id(92.4) == 7


@pytest.mark.parametrize("bucket", [-1, 20, 3.0, True, None, "3"])
def test_bad_bucket(bucket):
    with pytest.raises(InputError, match=r"0 .* to 19"):
        motion_id(bucket)


@pytest.mark.parametrize(
    ("pairs", "network_id", "bucket"), [((1.0, 1.0), 100, 0), ((0.96, 0.9), 93, 6), ((0.2, 0.4), 30, 19), ((-1.0,), -100, 19)]
)
def test_from_score_to_bucket(pairs, network_id, bucket):
    found = MotionScore(pairs, 1, 512, 320)
    assert (found.motion_id, found.bucket) == (network_id, bucket)


def test_the_ranges_of_the_buckets_tile_the_scale():
    ranges = [ssim_range(bucket) for bucket in range(BUCKETS)]
    assert ranges[0][1] == 1.0 and ranges[-1][0] == -1.0
    for (low, _), (_, high) in pairwise(ranges):
        assert low == pytest.approx(high)
    for bucket, (low, high) in enumerate(ranges):
        for value in (low + 1e-9, (low + high) / 2, high - 1e-9):
            assert bucket_of_motion_id(motion_id_of_ssim(value)) == bucket


def test_a_still_clip_scores_one_and_gets_the_least_bucket():
    found = score(moving(0.0))
    assert found.pairs == (1.0, 1.0, 1.0) and found.ssim == 1.0 and found.bucket == 0


def test_more_motion_gives_a_higher_bucket():
    scores = [score(moving(speed)) for speed in (0.0, 0.5, 0.7, 0.9, 1.1, 1.4, 2.0, 3.0)]
    for slower, faster in pairwise(scores[:-1]):
        assert slower.ssim > faster.ssim and slower.bucket < faster.bucket
    assert scores[0].bucket == 0
    # The last two lie past the end of the scale.
    assert scores[-2].motion_id > scores[-1].motion_id and scores[-2].bucket == scores[-1].bucket == BUCKETS - 1


def test_the_score_is_the_mean_over_neighbours():
    clip = moving(0.5)
    expected = [ssim(before, after) for before, after in pairwise(clip)]
    assert list(score(clip).pairs) == expected
    assert score(clip).ssim == pytest.approx(sum(expected) / 3, abs=1e-9)


@pytest.mark.parametrize(("frame_stride", "pairs"), [(1, 6), (2, 3), (3, 2), (4, 1), (6, 1)])
def test_a_stride_compares_frames_further_apart(frame_stride, pairs):
    clip = moving(0.3, frames=7)
    found = score(clip, frame_stride=frame_stride)
    assert len(found.pairs) == pairs and found.frame_stride == frame_stride
    assert found.pairs == score(torch.cat([clip[::frame_stride], clip[:1]])).pairs[:pairs]


@pytest.mark.parametrize("resize", ["cover", "reference", "stretch", "pad"])
def test_a_clip_is_measured_at_the_size_asked_for(resize):
    clip = moving(2.0, height=100, width=100)
    found = score(clip, resize=resize)
    assert (found.width, found.height) == (64, 40)
    resized = resize_image(clip, 64, 40, resize)
    assert list(found.pairs) == [ssim(before, after) for before, after in pairwise(resized)]
    assert abs(found.ssim - score(clip, 100, 100).ssim) > 0.01, "size matters"


def test_alpha_is_left_out():
    clip = moving(0.5)
    alpha = torch.cat([clip, torch.rand(4, 40, 64, 1)], dim=-1)
    assert score(alpha).pairs == pytest.approx(score(clip).pairs, abs=1e-9)


def test_progress_counts_pairs_and_can_stop():
    seen = []
    score(moving(0.5, frames=6), frame_stride=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]

    def stop(done: int, total: int) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        score(moving(0.5), progress=stop)
    assert seen == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": torch.zeros(1, 40, 64, 3)}, "1 frame"),
        ({"clip": torch.zeros(0, 40, 64, 3)}, "empty"),
        ({"clip": torch.full((4, 40, 64, 3), float("nan"))}, "NaN"),
        ({"width": 10}, "10x40; SSIM needs at least 11"),
        ({"resize": "squeeze"}, "'squeeze'; choose one of"),
        ({"frame_stride": 4}, "4 frames, too few to compare frames 4 apart; choose a frame stride of at most 3"),
        ({"frame_stride": 0}, "stride is 0; choose a whole number from 1"),
        ({"frame_stride": 1.5}, "stride is 1.5"),
    ],
)
def test_bad_input(change, message):
    def no_step(done: int, total: int) -> None:
        pytest.fail("work had begun")

    with pytest.raises(InputError, match=message):
        score(**({"clip": moving(0.5), "progress": no_step} | change))
