"""Figures: read, fitted to another figure, drawn."""

import numpy as np
import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.pose.align import align, length
from cinemo_pack.cinemo_core.pose.draw import DIMMED, LIMBS, draw_figure, hue
from cinemo_pack.cinemo_core.pose.figure import BODY, LEFT_WRIST, NECK, NOSE, RIGHT_WRIST, Figure, read_figures, resized

# A figure facing the viewer, arms and legs spread, in a picture of 200 x 300: x, y of OpenPose's 18 points.
STANDING = [(100, 40), (100, 70), (75, 75), (55, 105), (40, 135), (125, 75), (145, 105), (160, 135), (85, 150), (80, 200), (75, 250)]
STANDING += [(115, 150), (120, 200), (125, 250), (94, 34), (106, 34), (86, 38), (114, 38)]


def person(points=STANDING, score: float = 1.0, hand: bool = False) -> dict:
    flat = [value for x, y in points for value in (x, y, score)]
    right = [value for i in range(21) for value in (points[4][0] + i, points[4][1] + i, 1.0)] if hand else None
    return {"pose_keypoints_2d": flat, "face_keypoints_2d": None, "hand_left_keypoints_2d": None, "hand_right_keypoints_2d": right}


def frame(*people: dict) -> dict:
    return {"people": list(people), "canvas_width": 200, "canvas_height": 300}


def figure(points=STANDING, **options) -> Figure:
    return read_figures([frame(person(points, **options))]).figures[0]


def scaled(points, factor: float, shift=(0, 0)):
    return [(x * factor + shift[0], y * factor + shift[1]) for x, y in points]


def test_the_most_certain_person_is_taken_and_gaps_are_carried_over():
    other = person(scaled(STANDING, 0.5), score=0.6)
    reading = read_figures([frame(), frame(other, person()), frame()])
    assert reading.carried == 2 and len(reading.figures) == 3
    assert all(np.array_equal(found.body[:, :2], STANDING) for found in reading.figures)


def test_shares_of_the_picture_and_points_beyond_the_body_are_understood():
    shares = person([(x / 200, y / 300) for x, y in STANDING])
    shares["pose_keypoints_2d"] += [0.5, 0.9, 1.0] * 6  # feet
    found = read_figures([frame(shares)]).figures[0]
    assert found.body.shape == (BODY, 3) and np.allclose(found.body[:, :2], STANDING)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([], "are not a POSE_KEYPOINT"),
        ("people", "are not a POSE_KEYPOINT"),
        ([{"bodies": []}], "are not a POSE_KEYPOINT"),
        ([frame(), frame(person(score=0.1))], "None of the 2 frames of key points holds a person"),
    ],
)
def test_what_holds_no_figure_is_refused(frames, sentence):
    with pytest.raises(InputError, match=sentence):
        read_figures(frames)


def test_a_clip_of_the_same_figure_takes_size_and_place_of_the_reference():
    reference = figure(scaled(STANDING, 0.5, (30, 20)))
    raised = [*STANDING[:3], (55, 45), (40, 15), *STANDING[5:]]  # the right arm up
    first, second = align([figure(), figure(scaled(raised, 1, (10, 0)))], reference)
    assert np.allclose(first.body[:, :2], reference.body[:, :2])
    assert np.allclose(second.body[NECK, :2], reference.body[NECK, :2] + (5, 0))  # a movement at half size
    assert (second.body[4, :2] - second.body[3, :2] < (0, 0)).all(), "the arm keeps its direction"


def test_every_bone_gets_the_length_of_the_reference():
    tall = [*STANDING[:9], (78, 230), (72, 320), *STANDING[11:12], (122, 230), (128, 320), *STANDING[14:]]  # with longer legs
    reference, clip = figure(tall), [figure(), figure(scaled(STANDING, 1, (3, 0)))]
    for found in align(clip, reference):
        for bone in range(len(LIMBS)):
            assert length(found, bone) == pytest.approx(length(reference, bone), rel=1e-6)


def test_bones_that_the_reference_does_not_show_are_scaled_like_the_others():
    bust = figure(scaled(STANDING, 2.0))
    bust.body[8:14, 2] = 0  # hips and legs are outside the picture
    found = align([figure()], bust)[0]
    assert all(length(found, bone) == pytest.approx(2 * length(figure(), bone)) for bone in range(len(LIMBS)))


def test_a_hand_follows_its_wrist():
    reference = figure(scaled(STANDING, 2.0))
    found = align([figure(hand=True)], reference)[0]
    assert np.allclose(found.right_hand[0, :2], found.body[RIGHT_WRIST, :2])
    assert np.allclose(found.right_hand[5, :2] - found.right_hand[0, :2], (10, 10))
    assert not found.left_hand[:, 2].any()


def test_a_drawing_has_the_colours_of_the_field():
    """OpenPose's: from red at the nose to pink, joints bright over limbs at 60 %, on black."""
    picture = draw_figure(resized(figure(), 512, 768))
    assert picture.shape == (768, 512, 3) and picture.dtype == np.uint8
    at = (np.array(STANDING) * 2.56).round().astype(int)
    for joint, expected in ((NOSE, (255, 0, 0)), (NECK, (255, 85, 0)), (RIGHT_WRIST, (170, 255, 0)), (LEFT_WRIST, (0, 255, 85))):
        assert tuple(picture[at[joint, 1], at[joint, 0]]) == expected == hue(joint, BODY)
    middle = (at[8] + at[9]) // 2  # of the right thigh
    limb = LIMBS.index((8, 9))
    assert np.abs(picture[middle[1], middle[0]].astype(int) - np.array(hue(limb, BODY)) * DIMMED).max() <= 1
    assert not picture[:40].any() and not picture[-40:].any()


def test_hands_and_face_are_drawn_only_if_wanted():
    whole = figure(hand=True)
    whole.face[:, :] = (100, 20, 1)
    both, bare = draw_figure(whole), draw_figure(whole, hands=False, face=False)
    assert tuple(both[20, 100]) == (255, 255, 255) and not bare[20, 100].any()
    assert tuple(both[155, 60]) == (0, 0, 255) and not bare[155, 60].any()
