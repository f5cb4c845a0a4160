"""Figures read from a POSE_KEYPOINT: every form that nodes give it in, one person through the clip, what is refused."""

import numpy as np
import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.pose.figure import BODY, NECK, fitted
from cinemo_pack.cinemo_core.pose.keypoints import REACH, read_figures, size, write_figures
from cinemo_pack.tests.core.pose.people import STANDING, figure, frame, person, scaled


def read_one(one: dict, **size_of_picture) -> np.ndarray:
    return read_figures([frame(one, **size_of_picture)]).figures[0].body


def test_the_most_certain_person_is_taken_and_gaps_are_carried_over():
    other = person(scaled(STANDING, 0.5), score=0.6)
    reading = read_figures([frame(), frame(other, person()), frame()])
    assert reading.carried == 2 and len(reading.figures) == 3
    assert all(np.array_equal(found.body[:, :2], STANDING) for found in reading.figures)


def test_of_people_with_equal_scores_the_larger_is_taken():
    small, large = person(scaled(STANDING, 0.5)), person()
    assert np.array_equal(read_figures([frame(small, large)]).figures[0].body[:, :2], STANDING)


def test_the_same_person_is_kept_though_another_is_more_certain_or_first():
    mine = [scaled(STANDING, 0.4, (4 * i, 0)) for i in range(4)]
    other = scaled(STANDING, 0.4, (110, 0))
    frames = [frame(person(mine[0], 0.9), person(other, 0.8)), frame(person(mine[1], 0.7), person(other, 1.0))]
    frames += [frame(person(other), person(mine[2])), frame(person(mine[3]), person(other))]
    reading = read_figures(frames)
    assert reading.carried == 0
    assert [tuple(found.body[NECK, :2]) for found in reading.figures] == [mine[i][NECK] for i in range(4)]


def test_somebody_far_away_is_not_the_person_who_was_missed():
    mine, far = scaled(STANDING, 0.3), scaled(STANDING, 0.3, (140, 0))
    reading = read_figures([frame(person(mine)), frame(person(far)), frame(person(mine), person(far))])
    assert reading.carried == 1
    assert all(np.allclose(found.body[:, :2], mine) for found in reading.figures)


def test_after_a_while_the_person_may_be_anywhere():
    """Within reach: half of their size for each frame that has passed."""
    mine, far = scaled(STANDING, 0.3), scaled(STANDING, 0.3, (140, 0))
    missed = int(140 / (REACH * size(figure(mine))))
    reading = read_figures([frame(person(mine))] + [frame(person(far))] * (missed + 1))
    assert reading.carried == missed and np.allclose(reading.figures[-1].body[:, :2], far)


def test_shares_of_the_picture_and_points_of_the_feet_are_understood():
    shares = person([(x / 200, y / 300) for x, y in STANDING])
    shares["pose_keypoints_2d"] += [0.5, 0.9, 1.0] * 6
    found = read_one(shares)
    assert found.shape == (BODY, 3) and np.allclose(found[:, :2], STANDING)


def test_openposes_25_points_are_put_in_order():
    middle, feet = (100, 150), [(0, 299)] * 6
    ordered = [*STANDING[:8], middle, *STANDING[8:], *feet]
    assert np.array_equal(read_one(person(ordered))[:, :2], STANDING)


def test_missing_scores_count_as_seen_except_at_the_origin():
    expected = np.array(STANDING, dtype=float)
    expected[16] = 0
    pairs = {"pose_keypoints_2d": expected.reshape(-1).tolist()}
    unscored = {"pose_keypoints_2d": [value for x, y in expected for value in (x, y, None)]}
    for one in (pairs, unscored):
        found = read_one(one)
        assert np.array_equal(found[:, :2], expected)
        assert found[:, 2].tolist() == [float(i != 16) for i in range(BODY)]


def test_a_neck_that_is_missing_is_between_the_shoulders():
    hidden = person()
    hidden["pose_keypoints_2d"][3:6] = [0, 0, 0]
    assert read_one(hidden)[NECK].tolist() == [100, 75, 1]
    hidden["pose_keypoints_2d"][6:9] = [0, 0, 0]  # and a shoulder
    reading = read_figures([frame(hidden), frame(person())])
    assert reading.carried == 1 and np.array_equal(reading.figures[0].body[:, :2], STANDING)


def test_frames_of_other_sizes_keep_their_aspect():
    reading = read_figures([frame(person()), frame(person(scaled(STANDING, 2, (100, 0))), width=600, height=600)])
    assert {(found.width, found.height) for found in reading.figures} == {(200, 300)}
    # 600 x 600 becomes 200 x 200 in the middle of 200 x 300
    assert np.allclose(reading.figures[1].body[:, :2], np.array(scaled(STANDING, 2 / 3, (100 / 3, 50))))


def test_what_is_written_reads_as_it_was():
    written = write_figures([figure(hand=True)])
    found = read_figures(written).figures[0]
    assert np.array_equal(found.body, figure().body) and np.array_equal(found.right_hand, figure(hand=True).right_hand)
    assert written[0]["people"][0]["face_keypoints_2d"] is None
    assert (found.width, found.height) == (200, 300)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [("stretch", (200, 70)), ("cover", (200, 40)), ("pad", (200, 70))],
)
def test_a_picture_meets_another_size_as_its_pixels_do(fit, expected):
    """The neck at (100, 70) of 200 x 300: in 400 x 300 stretched, in the middle with the upper and lower quarter cut off, or smaller."""
    height = {"stretch": 300, "cover": 400, "pad": 300}[fit]
    found = fitted(figure(), 400, height, fit)
    assert (found.width, found.height) == (400, height)
    assert tuple(found.body[NECK, :2]) == expected


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([], "are not a POSE_KEYPOINT"),
        ("people", "are not a POSE_KEYPOINT"),
        ([{"bodies": []}], "are not a POSE_KEYPOINT"),
        ([frame(), frame(person(score=0.1))], "None of the 2 frames of key points holds a person"),
        ([frame(), frame("me")], "frame 1 are not those of OpenPose's JSON"),
        ([frame({"pose_keypoints_2d": ["a", "b", "c"]})], "frame 0 are not those of OpenPose's JSON"),
        ([frame({"pose_keypoints_2d": [[1.0, 2.0], [3.0]]})], "frame 0 are not those of OpenPose's JSON"),
        ([frame(person(), width=-1)], "frame 0 of the key points is -1x300"),
        ([{"people": 3}], "frame 0 are not those of OpenPose's JSON"),
    ],
)
def test_what_holds_no_figure_is_refused(frames, sentence):
    with pytest.raises(InputError, match=sentence):
        read_figures(frames)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_point_that_is_no_number_is_not_seen(value):
    broken = person()
    broken["pose_keypoints_2d"][30:33] = [value, value, value]
    assert not read_one(broken)[10].any()
