"""Pictures of poses moved to where the reference's pose is."""

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.pose.draw import draw_figure
from cinemo_pack.cinemo_core.pose.figure import fitted
from cinemo_pack.cinemo_core.pose.pictures import Stance, find_stance, place, plan
from cinemo_pack.tests.core.pose.people import STANDING, figure, scaled


def bars(*boxes: tuple[int, int, int, int] | None, width: int = 200, height: int = 300) -> torch.Tensor:
    """[f, h, w, 3], in each frame a white rectangle from left, top to right, bottom, or nothing."""
    images = torch.zeros(len(boxes), height, width, 3)
    for image, box in zip(images, boxes, strict=True):
        if box:
            image[box[1] : box[3], box[0] : box[2]] = 1
    return images


def box(frame: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of what is drawn in a picture, uint8 [h, w, 3]."""
    rows, columns = (np.flatnonzero(frame.max(axis=(axis, 2)) > 127) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def assert_near(frame: np.ndarray, expected: tuple[int, int, int, int]) -> None:
    """Within a pixel: enlarged edges are soft."""
    assert np.abs(box(frame) - expected).max() <= 1, box(frame)


def placed(images, reference, width=200, height=300, fit="stretch") -> np.ndarray:
    return np.stack(list(place(images, plan(images, reference, width, height, fit), width, height)))


def test_a_figure_takes_size_and_place_of_the_reference():
    clip = bars((50, 100, 70, 200), (60, 100, 80, 200), (50, 80, 70, 180))
    result = placed(clip, bars((100, 50, 180, 250)))
    expected = (120, 50, 160, 250), (140, 50, 180, 250), (120, 10, 160, 210)  # twice as tall; movement too
    for frame, wanted in zip(result, expected, strict=True):
        assert_near(frame, wanted)
    assert result[0][100, 140].tolist() == [255, 255, 255] and not result[0][:40].any()


def test_raised_arms_change_neither_size_nor_place():
    """Waved through most of the clip, and in the first frame; a jump in few frames does not count either."""
    clip = bars(*[(90, 100, 110, 200)] * 5)
    clip[:4, 40:120, 10:40] = 1
    clip[4, 20:120, 90:110] = 1
    for standing in (clip, clip.flip(0)[1:]):
        placing = plan(standing, bars((90, 100, 110, 200)), 200, 300, "stretch")
        assert placing.size == 1 and placing.offset.tolist() == [0, 0]


def test_frames_without_a_figure_repeat_another_and_are_counted():
    clip = bars(None, (50, 100, 70, 200), None, (60, 100, 80, 200))
    placing = plan(clip, bars((50, 100, 70, 200)), 200, 300, "stretch")
    assert placing.sources == (1, 1, 1, 3) and placing.carried == 2
    result = placed(clip, bars((50, 100, 70, 200)))
    assert np.array_equal(result[0], result[1]) and np.array_equal(result[2], result[1])


def test_specks_do_not_count():
    clip = bars((50, 100, 70, 200))
    clip[0, 5, 5] = 1
    clip[0, :, :] += 0.05  # a ground that is not quite black
    assert find_stance(clip[0]) == Stance(60, 100, 200)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [("stretch", (200, 50, 240, 250)), ("cover", (200, 0, 240, 300)), ("pad", (200, 50, 220, 250))],
)
def test_the_reference_meets_the_size_as_its_picture_does(fit, expected):
    """A picture of 200 x 300 in 400 x 300, with a figure to the right of the middle from 50 to 250."""
    clip = bars((0, 0, 10, 100), width=100, height=100)
    reference = bars((100, 50, 120, 250))
    assert_near(placed(clip, reference, 400, 300, fit)[0], expected)


def test_a_drawn_pose_comes_to_lie_on_the_reference():
    """The same figure at half the size elsewhere: drawn poses agree to the width of a line."""
    reference, small = (fitted(found, 400, 600) for found in (figure(), figure(scaled(STANDING, 0.5, (60, 20)))))
    pictures = [torch.from_numpy(draw_figure(found).copy())[None] / 255 for found in (reference, small)]
    result = placed(pictures[1], pictures[0], 400, 600)[0]
    assert np.abs(box(result) - box(draw_figure(reference))).max() <= 6


@pytest.mark.parametrize(
    ("images", "reference", "sentence"),
    [
        (bars(None, None), bars((5, 5, 9, 99)), "The pictures of poses are all black"),
        (bars((5, 5, 9, 99)), bars(None), "The picture of the reference's pose is all black"),
        (1 - bars((5, 5, 9, 99), None), bars((5, 5, 9, 99)), "The pictures of poses are not on black, as 100% of the pixels"),
        (bars((5, 5, 9, 99)), 1 - bars((5, 5, 9, 99)), "The picture of the reference's pose is not on black"),
        (bars((5, 5, 9, 99))[..., :1], bars((5, 5, 9, 99)), "1 channels"),
        (bars((5, 5, 9, 99)), bars((5, 5, 9, 99))[0], "has shape"),
    ],
)
def test_what_is_no_pose_on_black_is_refused(images, reference, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(images, reference, 200, 300, "stretch")
