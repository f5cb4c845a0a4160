"""The drawn person: a body whose bones keep their lengths, feet on the ground, loops without a seam, motions as their names say."""

import numpy as np
import pytest
from cinemo_pack.cinemo_core.pose.align import align
from cinemo_pack.cinemo_core.pose.draw import LIMBS
from cinemo_pack.cinemo_core.pose.figure import LEFT_ANKLE, LEFT_WRIST, NECK, NOSE, RIGHT_ANKLE, RIGHT_SHOULDER, RIGHT_WRIST
from cinemo_pack.cinemo_core.pose.motions import MOTIONS, STANCE
from cinemo_pack.cinemo_core.pose.skeleton import ANKLE_HEIGHT, GROUND, SHIN, THIGH, Joints, Posture, photograph, pose
from cinemo_pack.tests.core.pose.people import figure

FRAMES = 48
HIP, KNEE = 8, 9
TORSO = ((1, 8), (1, 11))
BODY_LIMBS = [ends for ends in LIMBS if max(ends) < 14]

every_motion = pytest.mark.parametrize("motion", MOTIONS)


def cycle(motion: str, frames: int = FRAMES, view: float = 0) -> list[Joints]:
    return [pose(MOTIONS[motion](i / frames), view) for i in range(frames)]


@every_motion
def test_bones_keep_their_lengths(motion):
    for first, second in BODY_LIMBS:
        lengths = [np.linalg.norm(joints.body[first] - joints.body[second]) for joints in cycle(motion)]
        # The torso leans over the hips, which stay level.
        assert np.ptp(lengths) < (0.02 if (first, second) in TORSO else 2e-3), (first, second)


@every_motion
def test_the_loop_has_no_seam_and_no_jump(motion):
    """From one frame to the next no point moves far, from the last to the first neither, and nothing repeats within a cycle."""
    start, end = pose(MOTIONS[motion](0.0)), pose(MOTIONS[motion](1.0))
    assert np.allclose(start.body, end.body, atol=1e-9) and np.allclose(start.right_hand, end.right_hand, atol=1e-9)
    points = np.stack([joints.body for joints in cycle(motion, 240)])
    steps = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=-1).max(axis=1)
    assert steps.max() < 0.05 and steps[0] < 2 * np.percentile(steps, 90) + 1e-3


@every_motion
def test_a_foot_is_on_the_ground_except_in_a_jump(motion):
    lowest = np.array([joints.body[[RIGHT_ANKLE, LEFT_ANKLE], 1].min() for joints in cycle(motion)])
    assert lowest.min() == pytest.approx(ANKLE_HEIGHT, abs=1e-3)
    assert (lowest.max() < ANKLE_HEIGHT + 0.02) == (motion != "jumping jacks")


@every_motion
@pytest.mark.parametrize("size", [(512, 768), (768, 512), (64, 64)])
def test_the_person_is_inside_the_picture(motion, size):
    for joints in cycle(motion, 24):
        found = photograph(joints, *size)
        for points in (found.body, found.right_hand, found.left_hand):
            assert (points[:, :2] >= 0).all() and (points[:, :2] < size).all()


def test_someone_standing_stands_in_the_middle_and_faces_the_viewer():
    found = photograph(pose(Posture()), 512, 768)
    assert found.body[NECK, 0] == pytest.approx(256) and found.body[:, 2].all()
    assert found.body[RIGHT_SHOULDER, 0] < 256, "the person's right is on the left of the picture"
    ankle = found.body[RIGHT_ANKLE, 1]
    assert GROUND * 768 - 0.06 * 512 < ankle < GROUND * 768


def test_a_walking_foot_is_planted_while_the_other_one_swings():
    """Seen from the moving body, a foot on the ground goes back at one speed."""
    feet = np.stack([joints.body[[RIGHT_ANKLE, LEFT_ANKLE]] for joints in cycle("walk", 200)])
    planted = feet[: int(0.6 * STANCE * 200), 0]
    assert np.allclose(planted[:, 1], ANKLE_HEIGHT) and np.allclose(np.diff(planted[:, 2], n=2), 0, atol=1e-12)
    assert np.allclose(feet[:, 1, 1:], np.roll(feet[:, 0, 1:], 100, axis=0)), "the left foot does the same half a cycle later"
    swing = feet[int(STANCE * 200) :, 0]
    assert swing[:, 1].max() > ANKLE_HEIGHT + 0.05 and (np.diff(swing[:, 2]) > -1e-12).all()


def test_arms_swing_against_the_legs():
    walk = cycle("walk")
    leg = np.array([joints.body[RIGHT_ANKLE, 2] - joints.body[HIP, 2] for joints in walk])
    for wrist, against in ((RIGHT_WRIST, True), (LEFT_WRIST, False)):
        arm = np.array([joints.body[wrist, 2] for joints in walk])
        assert (np.corrcoef(leg, arm)[0, 1] < -0.8) if against else (np.corrcoef(leg, arm)[0, 1] > 0.8)


def test_a_knee_bends_ahead():
    for joints in cycle("walk"):
        hip, knee, ankle = joints.body[HIP], joints.body[KNEE], joints.body[RIGHT_ANKLE]
        line = hip + (ankle - hip) * (THIGH / (THIGH + SHIN))
        assert knee[2] > line[2]


def test_waving_raises_the_right_hand_over_the_shoulder_and_goes_to_and_fro():
    heights = [joints.body[RIGHT_WRIST, 1] - joints.body[RIGHT_SHOULDER, 1] for joints in cycle("wave")]
    assert heights[0] < -0.2 and max(heights) > 0.1
    across = np.array([joints.body[RIGHT_WRIST, 0] for joints in cycle("wave", 240)])[60:180]
    turns = (np.diff(np.sign(np.diff(across))) != 0).sum()
    assert turns >= 5
    assert max(joints.body[LEFT_WRIST, 1] for joints in cycle("wave")) < 0.6


def test_turning_goes_once_around_by_the_persons_left_and_hides_the_face():
    turn = cycle("turn")
    shoulders = np.array([joints.body[5] - joints.body[2] for joints in turn])
    angles = np.unwrap(np.arctan2(-shoulders[:, 2], shoulders[:, 0]))
    assert np.allclose(angles, 2 * np.pi * np.arange(FRAMES) / FRAMES, atol=0.05)
    assert turn[0].seen.all() and not turn[FRAMES // 2].seen[NOSE]
    side = turn[FRAMES // 4].seen
    assert side[NOSE] and side[16] and not side[17], "from the side one ear is seen"


def test_view_turns_the_person_to_the_right_of_the_picture():
    side = pose(Posture(), view=90).body
    assert side[NOSE, 0] > side[NECK, 0] + 0.05 and abs(side[RIGHT_SHOULDER, 0]) < 1e-6


def test_a_drawn_person_fits_a_reference_like_any_other():
    clip = [photograph(joints, 200, 300) for joints in cycle("jumping jacks", 8)]
    first = align(clip, figure()).figures[0]
    assert max(first.body[[RIGHT_ANKLE, LEFT_ANKLE], 1]) == pytest.approx(250)
    assert first.body[NECK, 0] == pytest.approx(100)
