"""The charts, read back from their pixels and from the texts that were set."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.motion import plot
from cinemo_pack.cinemo_core.motion.buckets import BUCKETS, MotionScore
from cinemo_pack.cinemo_core.motion.charts import PLAIN, report_chart, score_chart, to_image
from cinemo_pack.cinemo_core.motion.plot import Band, Level, Line, Panel, draw, ticks
from cinemo_pack.cinemo_core.motion.report import MotionReport
from PIL import Image, ImageDraw, ImageFont


@dataclass
class Drawn:
    """What was drawn: texts with their boxes, and the heights of dashed lines."""

    texts: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    dashes: list[tuple[float, float]] = field(default_factory=list)  # length, y

    def centre(self, text: str, beyond: float = 0.0) -> float:
        """Height of the middle of a text that begins right of `beyond`."""
        (box,) = [box for found, box in self.texts if found == text and box[0] > beyond]
        return (box[1] + box[3]) / 2


@pytest.fixture
def drawn(monkeypatch) -> Drawn:
    seen = Drawn()
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    set_text, draw_dashes = plot.Canvas.text, plot.Canvas.dashes

    def text(self, place, text, size, colour=plot.TEXT, anchor="la"):
        set_text(self, place, text, size, colour, anchor)
        if text:
            seen.texts.append((text, pen.textbbox(place, text, ImageFont.load_default(size), anchor)))

    def dashes(self, left, right, y, colour):
        draw_dashes(self, left, right, y, colour)
        seen.dashes.append((right - left, y))

    monkeypatch.setattr(plot.Canvas, "text", text)
    monkeypatch.setattr(plot.Canvas, "dashes", dashes)
    return seen


def a_score(pairs: int, mean: float, spread: float, frame_stride: int = 1) -> MotionScore:
    generator = random.Random(0)
    return MotionScore(tuple(min(1.0, mean + spread * generator.uniform(-1, 1)) for _ in range(pairs)), frame_stride, 512, 320)


def a_report(frames: int, size: float) -> MotionReport:
    ramp = [size * frame / frames for frame in range(frames)]
    drift = tuple((value, -0.5 * value, 0.1 * value) for value in ramp)
    return MotionReport(a_score(frames - 1, 0.93, 0.02), tuple(ramp), tuple(value * value for value in ramp), drift)


def pixels_of(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that have exactly this colour."""
    return np.nonzero((np.asarray(picture) == colour).all(-1))


PICTURES = {
    "score": lambda: score_chart(a_score(15, 0.93, 0.02)),
    "score, still": lambda: score_chart(a_score(15, 1.0, 0.0)),
    "score, one pair": lambda: score_chart(a_score(1, 0.9, 0.0)),
    "score, past the scale": lambda: score_chart(a_score(15, 0.4, 0.2, 3)),
    "score, below zero": lambda: score_chart(a_score(5, -0.2, 0.3)),
    "score, long": lambda: score_chart(a_score(1200, 0.85, 0.1)),
    "report": lambda: report_chart(a_report(16, 0.3)),
    "report, two frames": lambda: report_chart(a_report(2, 0.3)),
    "report, still": lambda: report_chart(a_report(16, 0.0)),
    "report, tiny numbers": lambda: report_chart(a_report(16, 1e-7)),
    "report, long and large": lambda: report_chart(a_report(400, 1.0)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_lie_inside_and_apart(name, drawn):
    picture = PICTURES[name]()
    assert picture.mode == "RGB" and picture.size == ((960, 540) if "score" in name else (1200, 860))
    assert len(drawn.texts) > 12
    for index, (text, box) in enumerate(drawn.texts):
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= picture.width and box[3] <= picture.height, text
        for other, (left, top, right, bottom) in drawn.texts[:index]:
            assert box[2] <= left or box[0] >= right or box[3] <= top or box[1] >= bottom, f"{text!r} on {other!r}"


@pytest.mark.parametrize("name", PICTURES)
def test_every_letter_is_in_the_font(name, drawn):
    """Pillow's default font draws one and the same box for what it lacks."""
    PICTURES[name]()
    font = ImageFont.load_default(20)
    missing = bytes(font.getmask("\ue000"))
    for letter in {letter for text, _ in drawn.texts for letter in text} - {" "}:
        assert bytes(font.getmask(letter)) != missing, letter


def test_values_stand_where_the_axis_says(drawn):
    """A line from 0 to 1 runs from the height of the tick "0" to that of the tick "1"."""
    colour = (255, 0, 255)
    line = Line([value / 10 for value in range(11)], colour)
    picture = draw("title", "subtitle", [Panel("panel", "x", range(11), [line], 0.0, 1.0)], 1, 480, 360)
    rows, columns = pixels_of(picture, colour)
    left, right = rows[columns < columns.min() + 4].mean(), rows[columns > columns.max() - 4].mean()
    assert left == pytest.approx(drawn.centre("0.0"), abs=3) and right == pytest.approx(drawn.centre("1.0"), abs=3)
    middle = rows[np.abs(columns - (columns.min() + columns.max()) / 2) < 2].mean()
    assert middle == pytest.approx((left + right) / 2, abs=3)


def test_values_outside_the_asked_range_widen_the_axis(drawn):
    colour = (255, 0, 255)
    picture = draw("", "", [Panel("panel", "x", range(10, 13), [Line([-6.0, 0.0, 5.0], colour)], 0.0, 1.0)], 1, 480, 360)
    rows, _ = pixels_of(picture, colour)
    assert rows.max() - rows.min() > 150
    assert drawn.centre("5") == pytest.approx(rows.min(), abs=6) and drawn.centre("5") < drawn.centre("0") < drawn.centre("-5") < rows.max()


def test_one_value_alone_has_an_axis_around_it(drawn):
    draw("a", "b", [Panel("c", "d", range(3), [Line([0.0] * 3, (1, 2, 3))], 0, 0)], 1, 400, 300)
    assert {"-0.5", "0.0", "0.5"} <= {text for text, _ in drawn.texts}


def test_no_panels_leave_the_titles():
    assert draw("a", "b", [], 2, 400, 300).size == (400, 300)


def test_bands_and_levels_follow_the_axis(drawn):
    bands = [Band(0.0, 0.5, (0, 0, 200), "low"), Band(0.5, 1.0, (0, 200, 0), "high")]
    panel = Panel("panel", "x", range(2), [Line([0.1, 0.2], PLAIN)], 0.0, 1.0, bands, "band", [Level(0.5, "half")])
    picture = draw("", "", [panel], 1, 480, 360)
    green, blue = pixels_of(picture, (0, 200, 0))[0], pixels_of(picture, (0, 0, 200))[0]
    level = max(drawn.dashes)[1]
    assert green.min() < green.max() <= level + 1 and level - 1 <= blue.min() < blue.max()
    assert drawn.centre("high") == pytest.approx(green.mean(), abs=12) and drawn.centre("low") == pytest.approx(blue.mean(), abs=12)
    assert any(text == "half" for text, _ in drawn.texts)


@pytest.mark.parametrize("bucket", range(BUCKETS))
def test_the_mean_is_next_to_its_bucket(bucket, drawn):
    mean = (99 - bucket) / 100
    score_chart(MotionScore((mean, mean), 1, 512, 320))
    long_dashes = [y for length, y in drawn.dashes if length > 100]
    assert long_dashes == [pytest.approx(drawn.centre(str(bucket), beyond=880), abs=7)]  # the bands are 17 high
    assert any(text.startswith(f"Motion bucket {bucket} ") for text, _ in drawn.texts)


def test_the_picture_says_what_was_measured(drawn):
    score_chart(a_score(4, 0.5, 0.0, frame_stride=3))
    texts = " | ".join(text for text, _ in drawn.texts)
    for part in ("mean SSIM 0.5000", "motion id 50, past the end of the scale", "4 pairs of frames 3 apart", "512x320", "the one 3 before"):
        assert part in texts


def test_lines_are_smooth():
    """Between a line and its ground there are shades of both."""
    line = Line([0.0, 1.0], (255, 255, 255))
    picture = draw("", "", [Panel("", "", range(2), [line], 0.0, 1.0)], 1, 480, 360)
    shades = np.unique(np.asarray(picture)[100:250, 150:350].reshape(-1, 3), axis=0)
    assert len(shades) > 6


def test_a_picture_becomes_an_image():
    image = to_image(score_chart(a_score(3, 0.9, 0.01)))
    assert image.shape == (1, 540, 960, 3) and image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    assert torch.equal((image[0, 100, 5] * 255).round(), torch.tensor(plot.BACKGROUND, dtype=torch.float32))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.795, 1.0), (-0.01, 0.01), (0.0, 1e-3), (-3.2, 7.7), (0.0, 12345.0), (1.0, 1.001)])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_ticks_are_round_few_and_inside(low, high, count):
    found = ticks(low, high, count)
    assert 1 <= len(found) <= count + 1
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    if len(found) > 1:
        step = found[1] - found[0]
        assert all(after - before == pytest.approx(step) for before, after in pairwise(found))
        assert float(f"{step:.0e}") == pytest.approx(step) and f"{step:.0e}"[0] in "125"


def test_ticks_of_frames_are_whole():
    assert ticks(0, 3, 12, whole=True) == [0, 1, 2, 3]
    assert ticks(1, 1, 12, whole=True) == [1]
    assert ticks(0, 60, 6, whole=True) == [0, 10, 20, 30, 40, 50, 60]
