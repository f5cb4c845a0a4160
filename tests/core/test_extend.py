"""Longer clips from segments: texts, seeds, correction of drift, joins."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion.segments import check_segments, correct, drift, join, segment_motion_ids, segment_prompts, segment_seed


def random_segment(frames: int = 6, seed: int = 0) -> torch.Tensor:
    """Frames whose channels differ in mean and deviation, and drift away."""
    noise = torch.randn(frames, 4, 5, 7, generator=torch.Generator().manual_seed(seed))
    scale = torch.tensor([0.5, 1.0, 2.0, 3.0])[:, None, None] * torch.linspace(1, 2, frames)[:, None, None, None]
    return noise * scale + torch.tensor([-1.0, 0.0, 0.3, 4.0])[:, None, None]


REFERENCE = random_segment(1, seed=9)


def numbered(start: int, frames: int) -> torch.Tensor:
    """Frames that hold their number: start, start + 1, ..."""
    return torch.arange(start, start + frames, dtype=torch.float32)[:, None, None, None].expand(frames, 4, 2, 3)


def test_a_prompt_per_segment():
    assert segment_prompts("", 3) == segment_prompts(" \n\n", 3) == [None, None, None]
    assert segment_prompts("rain\n\n  sun \n", 4) == ["rain", "sun", "sun", "sun"]
    assert segment_prompts("a\nb", 2) == ["a", "b"]
    with pytest.raises(InputError, match=r"There are 3 prompts for 2 segment\(s\); give one line per segment, or fewer"):
        segment_prompts("a\nb\nc", 2)


def test_a_bucket_per_segment():
    assert segment_motion_ids("", 2) == segment_motion_ids(" , ", 2) == [None, None]
    assert segment_motion_ids("9, 9, 12, 15", 4) == [90, 90, 87, 84]
    assert segment_motion_ids("0 19,", 3) == [99, 80, 80]


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ("1, 2, 3", r"There are 3 buckets for 2 segment\(s\)"),
        ("9, 20", "motion bucket is 20; choose a whole number from 0"),
        ("9, -1", 'The buckets hold "-1"; write whole numbers from 0 to 19'),
        ("fast", 'The buckets hold "fast"'),
        ("9.5", 'The buckets hold "9.5"'),
        ("²", 'The buckets hold "²"'),
    ],
)
def test_buckets_that_are_none(buckets, message):
    with pytest.raises(InputError, match=message):
        segment_motion_ids(buckets, 2)


@pytest.mark.parametrize(
    ("segments", "overlap", "strength", "message"),
    [
        (0, 0, 0.5, "0 segments were asked for; choose 1 or more"),
        (-3, 0, 0.5, "-3 segments"),
        (2, -1, 0.5, r"overlap is -1 frame\(s\) and a segment has 16; choose 0 to 14"),
        (2, 15, 0.5, "overlap is 15"),
        (2, 16, 0.5, "overlap is 16"),
        (2, 0, 1.5, "correction is 1.5; choose a number from 0"),
        (2, 0, -0.1, "correction is -0.1"),
        (2, 0, float("nan"), "correction is nan"),
    ],
)
def test_settings_out_of_range(segments, overlap, strength, message):
    check_segments(1, 14, 16, 1.0)
    with pytest.raises(InputError, match=message):
        check_segments(segments, overlap, 16, strength)


def test_seeds_differ_between_segments_and_between_nearby_seeds():
    seeds = [segment_seed(seed, index) for seed in (0, 1, 2, 2**64 - 1) for index in range(256)]
    assert segment_seed(7, 0) == 7
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**64 for seed in seeds)
    assert len({seed % 2**32 for seed in seeds}) == len(seeds), "torch's generator on the CPU reads 32 bits"


@pytest.mark.parametrize("overlap", [0, 2])
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_correction_takes_back_its_share_of_the_drift(strength, overlap):
    segment = random_segment()
    corrected = correct(segment, REFERENCE, strength, overlap)
    next_start = slice(5 - overlap, 6 - overlap)
    before, after = drift(segment[next_start], REFERENCE), drift(corrected[next_start], REFERENCE)
    assert before.mean > 0.1 and before.std > 0.1
    assert after == pytest.approx([(1 - strength) * distance for distance in before], abs=1e-5)
    assert torch.equal(corrected[:1], segment[:1])
    assert torch.equal(corrected, segment) == (strength == 0)


def test_correction_at_full_strength_gives_the_first_image_statistics():
    corrected = correct(random_segment(), REFERENCE, 1.0)[-1]
    torch.testing.assert_close(corrected.mean((-2, -1)), REFERENCE[0].mean((-2, -1)), rtol=0, atol=1e-5)
    torch.testing.assert_close(corrected.std((-2, -1)), REFERENCE[0].std((-2, -1)), rtol=1e-5, atol=0)


def test_correction_grows_evenly():
    """Of a still segment, every frame takes the same step."""
    still = random_segment(1).repeat(5, 1, 1, 1)
    steps = correct(still, REFERENCE, 1.0).diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=0, atol=1e-5)
    assert steps.abs().mean() > 0.05


def test_correction_of_a_channel_without_contrast():
    flat = torch.full((3, 4, 5, 7), 0.1)
    corrected = correct(flat, REFERENCE, 1.0)
    expected = REFERENCE.mean(dim=(-2, -1), keepdim=True).expand(1, 4, 5, 7)
    torch.testing.assert_close(corrected[-1:], expected, rtol=0, atol=1e-5)


def test_correction_keeps_the_dtype():
    assert correct(random_segment().half(), REFERENCE.half(), 0.5).dtype == torch.float16


def test_drift_is_a_root_mean_square_over_channels():
    frame = REFERENCE + torch.tensor([3.0, 0.0, 0.0, 4.0])[:, None, None]
    assert drift(frame, REFERENCE) == pytest.approx((2.5, 0.0), abs=1e-5)
    assert drift(REFERENCE, REFERENCE) == (0.0, 0.0)


@pytest.mark.parametrize(("count", "overlap", "frames"), [(1, 0, 16), (4, 0, 61), (4, 3, 52), (3, 14, 18)])
def test_a_join_of_segments_that_agree_is_the_clip_they_were_cut_from(count, overlap, frames):
    segments = [numbered(k * (15 - overlap), 16) for k in range(count)]
    torch.testing.assert_close(join(segments, overlap), numbered(0, frames), rtol=0, atol=1e-5)


def test_overlapping_frames_are_faded_evenly():
    first, second = torch.zeros(6, 4, 2, 3), torch.ones(6, 4, 2, 3)
    assert join([first, second], 3)[:, 0, 0, 0].tolist() == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert join([first, second], 0)[:, 0, 0, 0].tolist() == [0] * 6 + [1] * 5


def test_a_closed_loop_ends_where_it_began():
    segments = [random_segment(seed=seed) for seed in range(2)]
    clip, loop = join(segments, 0), join(segments, 0, closed_loop=True)
    assert loop.shape[0] == 2 * clip.shape[0] - 1
    assert torch.equal(loop[: clip.shape[0]], clip) and torch.equal(loop.flip(0), loop)


def test_the_clip_shares_no_memory_with_its_segments():
    segment = random_segment()
    before = segment.clone()
    join([segment], 0).zero_()
    assert torch.equal(segment, before)
