"""A clip of figures fitted to another figure: sizes, limbs, place, ground, and what the reference or the clip does not show."""

import numpy as np
import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.pose.align import LIMIT, SEGMENTS, align, bone_length, compare
from cinemo_pack.cinemo_core.pose.draw import LIMBS
from cinemo_pack.cinemo_core.pose.figure import LEFT_ANKLE, NECK, NOSE, RIGHT_ANKLE, RIGHT_WRIST
from cinemo_pack.cinemo_core.pose.report import describe_alignment
from cinemo_pack.tests.core.pose.people import STANDING, figure, scaled, without

LEGS = range(8, 14)
LONG_LEGS = [*STANDING[:9], (78, 230), (72, 320), *STANDING[11:12], (122, 230), (128, 320), *STANDING[14:]]
CROUCHING = [(x, y + 30) for x, y in STANDING]
CROUCHING[9:11], CROUCHING[12:14] = [(60, 215), STANDING[10]], [(140, 215), STANDING[13]]  # the knees go out, the feet stay


def ankles(found) -> np.ndarray:
    return found.body[[RIGHT_ANKLE, LEFT_ANKLE], :2]


def bones(found) -> list[float]:
    return [bone_length(found, *ends) for ends in LIMBS]


def test_every_bone_belongs_to_one_segment():
    assert sorted(bone for found in SEGMENTS.values() for bone in found) == list(range(len(LIMBS)))


def test_a_clip_of_the_same_figure_takes_size_and_place_of_the_reference():
    reference = figure(scaled(STANDING, 0.5, (30, 20)))
    raised = [*STANDING[:3], (55, 45), (40, 15), *STANDING[5:]]  # the right arm up
    alignment = align([figure(), figure(scaled(raised, 1, (10, 0)))], reference)
    first, second = alignment.figures
    assert alignment.proportions.scale == pytest.approx(0.5) and alignment.grounded
    assert np.allclose(first.body[:, :2], reference.body[:, :2])
    assert np.allclose(second.body[NECK, :2], reference.body[NECK, :2] + (5, 0))  # a movement at half size
    assert (second.body[4, :2] - second.body[3, :2] < (0, 0)).all(), "the arm keeps its direction"


def test_every_bone_gets_the_length_of_the_reference():
    reference, clip = figure(LONG_LEGS), [figure(), figure(scaled(STANDING, 1, (3, 0)))]
    for found in align(clip, reference).figures:
        assert bones(found) == pytest.approx(bones(reference), rel=1e-6)


def test_without_limbs_only_the_size_changes():
    reference = figure(LONG_LEGS)
    alignment = align([figure()], reference, limbs=False)
    scale = alignment.proportions.scale
    assert 1 < scale < 1.5
    assert bones(alignment.figures[0]) == pytest.approx([scale * bone for bone in bones(figure())])
    assert ankles(alignment.figures[0])[:, 1].max() == pytest.approx(320), "it stands on the reference's ground"


def test_the_first_figure_stands_on_the_references_ground_below_its_neck():
    short_legs = [*STANDING[:9], (82, 175), (79, 200), *STANDING[11:12], (118, 175), (121, 200), *STANDING[14:]]
    reference = figure(scaled(short_legs, 1, (20, 40)))
    first = align([figure(scaled(CROUCHING, 1, (-15, 7))), figure()], reference).figures[0]
    assert first.body[NECK, 0] == pytest.approx(reference.body[NECK, 0])
    assert ankles(first)[:, 1].max() == pytest.approx(240)


def test_feet_stay_on_the_ground_when_the_legs_are_of_another_length():
    clip = [figure(), figure(CROUCHING), figure()]
    assert {float(ankles(found)[:, 1].max()) for found in clip} == {250}
    aligned = align(clip, figure(LONG_LEGS)).figures
    assert [float(ankles(found)[:, 1].max()) for found in aligned] == pytest.approx([320, 320, 320])
    assert aligned[1].body[NECK, 1] > aligned[0].body[NECK, 1] + 30, "longer legs crouch deeper"


def test_a_jump_is_as_high_as_the_legs_are_long():
    clip = [figure(), figure(scaled(STANDING, 1, (0, -20)))]
    reference = figure(scaled(STANDING, 1.5))
    assert ankles(align(clip, reference).figures[1])[:, 1].max() == pytest.approx(1.5 * 250 - 30)


def test_a_step_aside_is_as_wide_as_the_legs_are_long():
    """Else a foot that stands in the clip would slide."""
    step = [figure(), figure(scaled(STANDING, 1, (10, 0)))]
    alignment = align(step, figure(LONG_LEGS))
    stride = alignment.proportions.stride
    legs = [bone_length(figure(points), 8, 9) + bone_length(figure(points), 9, 10) for points in (LONG_LEGS, STANDING)]
    assert stride == pytest.approx(legs[0] / legs[1])
    assert alignment.figures[1].body[NECK, 0] - alignment.figures[0].body[NECK, 0] == pytest.approx(10 * stride)


def test_bones_that_the_reference_does_not_show_are_scaled_like_the_others_and_necks_meet():
    bust = without(figure(scaled(STANDING, 2.0, (0, 55))), *LEGS)
    alignment = align([figure()], bust)
    found = alignment.figures[0]
    assert bones(found) == pytest.approx([2 * bone for bone in bones(figure())])
    assert np.allclose(found.body[NECK, :2], bust.body[NECK, :2])
    assert not alignment.grounded and alignment.proportions.compared == ("shoulders", "upper arms", "forearms", "neck", "head")


def test_frames_without_ankles_are_placed_as_their_neighbours():
    clip = [figure(scaled(STANDING, 1, (2 * i, 0))) for i in range(5)]
    for i in (0, 2, 4):
        without(clip[i], RIGHT_ANKLE)
    assert all(np.allclose(found.body[NECK, :2], (100 + 2 * i, 70)) for i, found in enumerate(align(clip, figure()).figures))


def test_a_foreshortened_arm_of_the_reference_does_not_shorten_the_clips():
    """The other arm shows how long it is; and where both point at the viewer, a limit holds."""
    short = [*STANDING[:4], (54, 107), *STANDING[5:]]
    assert align([figure()], figure(short)).proportions.segments["forearms"] == pytest.approx(1)
    short[7] = (146, 107)
    proportions = align([figure()], figure(short)).proportions
    assert proportions.segments["forearms"] == pytest.approx(proportions.scale / LIMIT)


def test_the_length_of_a_bone_is_taken_from_frames_that_show_it_long():
    folded = [*STANDING[:4], STANDING[3], *STANDING[5:7], STANDING[6], *STANDING[8:]]  # forearms towards the viewer
    clip = [figure(folded)] * 8 + [figure()] * 2
    assert compare(clip, figure()).segments["forearms"] == pytest.approx(1)


def test_nothing_in_common_is_refused():
    with pytest.raises(InputError, match="have no limb in common"):
        align([without(figure(), NOSE, *range(8, 18))], without(figure(), *range(2, 8), *range(14, 18)))


def test_a_hand_follows_its_wrist():
    found = align([figure(hand=True)], figure(scaled(STANDING, 2.0))).figures[0]
    assert np.allclose(found.right_hand[0, :2], found.body[RIGHT_WRIST, :2])
    assert np.allclose(found.right_hand[5, :2] - found.right_hand[0, :2], (10, 10))
    assert not found.left_hand[:, 2].any()


def test_the_report_says_what_was_compared_and_what_was_not():
    whole = describe_alignment(align([figure()] * 3, figure(scaled(STANDING, 0.5))), carried=0)
    assert whole.splitlines()[0] == "3 frames, each with the person."
    assert "0.50 times as large" in whole and "thighs 0.50" in whole and "lower ankle" in whole
    bust = describe_alignment(align([figure()] * 3, without(figure(), *LEGS)), carried=1)
    assert "missing in 1," in bust and "scaled like the whole figure: torso, thighs, shins." in bust and "neck begins" in bust
