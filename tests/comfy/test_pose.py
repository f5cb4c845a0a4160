"""The pose nodes in ComfyUI: what they give, how they join, progress, cancelling, bad input."""

import comfy.model_management
import comfy.utils
import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.pose.figure import LEFT_ANKLE, NECK, RIGHT_ANKLE
from cinemo_pack.cinemo_core.pose.keypoints import read_figures
from cinemo_pack.cinemo_core.pose.motions import MOTIONS
from cinemo_pack.cinemo_core.pose.pictures import find_stance
from cinemo_pack.nodes.pose import CinemoPoseAlignment, CinemoPoseAlignmentFromPictures, CinemoPoseClip
from cinemo_pack.tests.core.pose.people import STANDING, frame, person, scaled

WIDTH, HEIGHT = 128, 192


def clip(motion="walk", frames=4, width=WIDTH, height=HEIGHT, cycles=1, view=0, hands=True, resize="stretch", reference=None):
    return CinemoPoseClip.execute(motion, frames, width, height, cycles, view, hands, resize, reference).args


def align(keypoints, reference=None, width=WIDTH, height=HEIGHT, limbs=True, hands=True, face=True, resize="stretch"):
    return CinemoPoseAlignment.execute(keypoints, width, height, limbs, hands, face, resize, reference).args


def align_pictures(images, reference, width=WIDTH, height=HEIGHT, resize="stretch"):
    return CinemoPoseAlignmentFromPictures.execute(images, reference, width, height, resize).args


def neck(keypoints, index=0):
    return read_figures(keypoints).figures[index].body[NECK, :2]


def ground(keypoints, index=0):
    return read_figures(keypoints).figures[index].body[[RIGHT_ANKLE, LEFT_ANKLE], 1].max()


@pytest.fixture
def progress():
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **kwargs: seen.append((value, total)))
    yield seen
    comfy.utils.set_progress_bar_global_hook(None)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_pictures_and_their_key_points(motion):
    with torch.inference_mode():
        images, keypoints = clip(motion)
    assert images.shape == (4, HEIGHT, WIDTH, 3) and images.dtype == torch.float32 and images.max() <= 1
    assert len(keypoints) == 4 and {(one["canvas_width"], one["canvas_height"]) for one in keypoints} == {(WIDTH, HEIGHT)}
    assert all(image.any() for image in images) and not torch.equal(images[0], images[1])
    again, _, _ = align(keypoints)
    assert torch.equal(again, images), "the key points draw the same pictures"


def test_cycles_repeat_the_motion_and_view_turns_it():
    images, _ = clip(frames=6, cycles=2)
    assert torch.equal(images[:3], images[3:]) and not torch.equal(images[0], images[1])
    assert not torch.equal(clip(view=90)[0], clip()[0])


def test_a_drawn_motion_stands_where_the_reference_stands():
    reference = [frame(person(scaled(STANDING, 0.5, (60, 20))))]
    _, keypoints = clip(width=200, height=300, reference=reference)
    assert neck(keypoints)[0] == pytest.approx(110) and ground(keypoints) == pytest.approx(145)


def test_a_clip_is_fitted_to_the_reference():
    driving, reference = [frame(person()), frame()], [frame(person(scaled(STANDING, 0.5, (60, 20))))]
    images, keypoints, report = align(driving, reference, width=200, height=300)
    assert np.allclose(neck(keypoints), (110, 55)) and ground(keypoints) == pytest.approx(145)
    assert torch.equal(images[0], images[1]) and "missing in 1," in report and "0.50 times as large" in report
    stance = find_stance(images[0])
    assert stance.middle == pytest.approx(110, abs=2) and 30 <= stance.top < 40 and 145 <= stance.bottom <= 150


@pytest.mark.parametrize(("resize", "expected"), [("stretch", (220, 55)), ("cover", (220, -40)), ("pad", (210, 55))])
def test_the_reference_meets_the_size_as_its_picture_does(resize, expected):
    """A square-shouldered figure in 200 x 300 seen in 400 x 300: stretched, cut, or with bars. Bones are compared before."""
    reference = [frame(person(scaled(STANDING, 0.5, (60, 20))))]
    _, keypoints, report = align([frame(person())], reference, width=400, height=300, resize=resize)
    assert np.allclose(neck(keypoints), expected)
    assert "shoulders 0.50" in report and "shins 0.50" in report


def test_hands_and_face_are_switches():
    whole = person(hand=True)
    whole["face_keypoints_2d"] = [100, 20, 1] * 68
    both, bare = (align([frame(whole)], width=200, height=300, hands=on, face=on)[0] for on in (True, False))
    assert both[0, 20, 100].tolist() == [1, 1, 1] and not bare[0, 20, 100].any()
    assert both[0, 155, 60].tolist() == [0, 0, 1] and not bare[0, 155, 60].any()


def test_pictures_of_a_motion_come_to_stand_where_another_stands():
    small, _ = clip("wave", reference=[frame(person(scaled(STANDING, 0.4, (100, 10))))], width=200, height=300)
    target, _ = clip("wave", frames=2, width=200, height=300)
    images, report = align_pictures(small, target, width=200, height=300)
    assert images.shape == (4, 300, 200, 3)
    stance, wanted = find_stance(images[0]), find_stance(target[0])
    assert np.abs(stance.feet - wanted.feet).max() <= 3 and abs(stance.height - wanted.height) <= 8
    assert report.startswith("4 frames, each with the person.") and "times as large" in report


@pytest.mark.parametrize("run", [clip, lambda: align([frame(person())] * 4), lambda: align_pictures(clip()[0], clip()[0])])
def test_progress_and_cancelling(run, progress):
    run()
    assert progress[-1] == (4, 4)
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run()
    run()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: align([frame()]), "None of the 1 frames"),
        (lambda: align([frame(person())], [frame()]), "None of the 1 frames"),
        (lambda: align("poses"), "are not a POSE_KEYPOINT"),
        (lambda: clip(reference=[{}]), "are not a POSE_KEYPOINT"),
        (lambda: align_pictures(torch.zeros(2, 9, 9, 3), clip()[0]), "poses are all black"),
        (lambda: align_pictures(torch.rand(2, 9, 9, 3) / 2 + 0.5, clip()[0]), "are not on black"),
        (lambda: align_pictures(torch.zeros(0, 9, 9, 3), clip()[0]), "empty"),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message):
        run()
