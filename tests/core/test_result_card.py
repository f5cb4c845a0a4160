"""The template card of a workflow: a moment large, the course of the clip below, the input marked."""

import pytest
from cinemo_pack.tools.result_card import GAP, GIVEN, INK, MOMENT, SIZE, result_card
from PIL import Image


@pytest.mark.parametrize(("width", "height"), [(192, 192), (512, 320), (64, 96)])
def test_a_card_shows_whole_frames_and_marks_the_first(width, height):
    frames = [Image.new("RGB", (width, height), (10 * i, 0, 200)) for i in range(16)]
    card = result_card(frames)
    assert card.size == (SIZE, SIZE)
    assert card.getpixel((SIZE // 2, SIZE // 3)) == (10 * MOMENT, 0, 200)
    row = [card.getpixel((x, SIZE - 5 * GAP)) for x in range(0, SIZE, 2)]
    assert [10 * i for i in (0, 5, 10, 15)] == sorted({red for red, green, blue in row if (green, blue) == (0, 200)})
    colours = [colour for _, colour in card.getcolors(SIZE * SIZE)]
    assert GIVEN in colours and INK in colours


def test_a_clip_of_one_frame_has_a_card():
    assert result_card([Image.new("RGB", (64, 64), (0, 9, 0))]).getpixel((SIZE // 2, SIZE // 3)) == (0, 9, 0)
