"""Line charts drawn with Pillow, which ComfyUI ships; it ships no plotting library.

A picture is a card with its own background, as it is shown on light and on dark pages. Shapes are drawn three times as
large and scaled down, which smooths them; text is drawn last, at its true size, with Pillow's own scalable font.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]

BACKGROUND, PANEL, FRAME, GRID = (24, 24, 28), (33, 33, 39), (92, 92, 102), (70, 70, 80)
TEXT, MUTED = (235, 235, 238), (172, 172, 182)
TITLE_SIZE, PANEL_TITLE_SIZE, TEXT_SIZE = 24, 18, 15
MARGIN, GAP, SAMPLE = 22, 8, 26
SMOOTHING = 3
MOST_DOTS = 40  # a line of more points is drawn thinner and without dots
TICKS = 6  # about so many on each axis, fewer where a panel is low or narrow


@dataclass(frozen=True)
class Line:
    """Values over the x axis of a panel; without a label it is not in the legend."""

    values: Sequence[float]
    colour: Colour
    label: str = ""


@dataclass(frozen=True)
class Band:
    """A named range of the y axis."""

    low: float
    high: float
    colour: Colour
    label: str


@dataclass(frozen=True)
class Level:
    """A value of the y axis, marked across the panel."""

    value: float
    label: str


@dataclass(frozen=True)
class Panel:
    """One chart: lines over whole-numbered x, at least one point each, on a y axis that shows at least `low`..`high`."""

    title: str
    x_label: str
    x: Sequence[int]
    lines: Sequence[Line]
    low: float
    high: float
    bands: Sequence[Band] = ()
    bands_label: str = ""
    levels: Sequence[Level] = ()


class Box(NamedTuple):
    """A rectangle in pixels of the finished picture."""

    left: float
    top: float
    right: float
    bottom: float


def draw(title: str, subtitle: str, panels: Sequence[Panel], columns: int, width: int, height: int) -> "Image.Image":
    """Draw panels in reading order below a title and a line of text: an RGB picture of `width` x `height` pixels."""
    canvas = Canvas(width, height)
    canvas.text((MARGIN, MARGIN), title, TITLE_SIZE)
    canvas.text((MARGIN, MARGIN + TITLE_SIZE + GAP), subtitle, TEXT_SIZE, MUTED)
    top = MARGIN + TITLE_SIZE + GAP + TEXT_SIZE + MARGIN
    rows = max(1, ceil(len(panels) / columns))
    cell_width, cell_height = (width - MARGIN * (columns + 1)) / columns, (height - top - MARGIN * rows) / rows
    for index, panel in enumerate(panels):
        left, upper = MARGIN + index % columns * (cell_width + MARGIN), top + index // columns * (cell_height + MARGIN)
        _draw_panel(canvas, panel, Box(left, upper, left + cell_width, upper + cell_height))
    return canvas.finish()


class Canvas:
    """Shapes at once, enlarged; texts kept until the shapes are scaled down."""

    def __init__(self, width: int, height: int):
        from PIL import Image, ImageDraw

        self.size = width, height
        self.picture = Image.new("RGB", (width * SMOOTHING, height * SMOOTHING), BACKGROUND)
        self.shapes = ImageDraw.Draw(self.picture)
        self.texts: list[tuple] = []
        self.rectangle(Box(0, 0, width - 1 / SMOOTHING, height - 1 / SMOOTHING), outline=FRAME)

    def rectangle(self, box: Box, fill: Colour | None = None, outline: Colour | None = None) -> None:
        self.shapes.rectangle([value * SMOOTHING for value in box], fill, outline, SMOOTHING)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, thickness: float = 1.0) -> None:
        enlarged = [(x * SMOOTHING, y * SMOOTHING) for x, y in points]
        self.shapes.line(enlarged, colour, round(thickness * SMOOTHING), joint="curve")

    def dashes(self, left: float, right: float, y: float, colour: Colour) -> None:
        for start in range(round(left), round(right), 12):
            self.line([(start, y), (min(start + 7, right), y)], colour, 1.5)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.shapes.ellipse(
            [(x - radius) * SMOOTHING, (y - radius) * SMOOTHING, (x + radius) * SMOOTHING, (y + radius) * SMOOTHING], colour
        )

    def text(self, place: tuple[float, float], text: str, size: int, colour: Colour = TEXT, anchor: str = "la") -> None:
        """`anchor` is Pillow's: horizontally l, m or r, vertically a (top), m, s (baseline) or d (bottom)."""
        self.texts.append((place, text, size, colour, anchor))

    def finish(self) -> "Image.Image":
        from PIL import Image, ImageDraw

        picture = self.picture.resize(self.size, Image.Resampling.BOX)
        pen = ImageDraw.Draw(picture)
        for place, text, size, colour, anchor in self.texts:
            pen.text(place, text, colour, _font(size), anchor)
        return picture


def ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """About `count` round values from `low` to `high`, 1, 2 or 5 times a power of ten apart; `whole` keeps to whole numbers."""
    rough = max((high - low) / max(count, 1), 1.0 if whole else 0.0)
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = ceil(low / step - 1e-6), floor(high / step + 1e-6)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _draw_panel(canvas: Canvas, panel: Panel, box: Box) -> None:
    low, high = _y_range(panel)
    line_height = TEXT_SIZE + GAP
    chart_top, chart_bottom = box.top + PANEL_TITLE_SIZE + 2 * GAP, box.bottom - 2 * line_height
    y_ticks = ticks(low, high, min(TICKS, int((chart_bottom - chart_top) / (3 * TEXT_SIZE))))
    y_texts = _tick_texts(y_ticks)
    chart = Box(
        box.left + max(_text_width(text, TEXT_SIZE) for text in y_texts) + GAP,
        chart_top,
        box.right - (_text_width(panel.bands_label, TEXT_SIZE) + GAP if panel.bands else 0),
        chart_bottom,
    )

    def y_of(value: float) -> float:
        return chart.bottom - (min(max(value, low), high) - low) / (high - low) * (chart.bottom - chart.top)

    first, last = min(panel.x), max(panel.x)
    inset = 12.0

    def x_of(value: float) -> float:
        share = (value - first) / (last - first) if last > first else 0.5
        return chart.left + inset + share * (chart.right - chart.left - 2 * inset)

    canvas.rectangle(chart, fill=PANEL)
    for band in panel.bands:
        if band.high > low and band.low < high:
            canvas.rectangle(Box(chart.left, y_of(band.high), chart.right, y_of(band.low)), fill=band.colour)
    for value, text in zip(y_ticks, y_texts, strict=True):
        canvas.line([(chart.left, y_of(value)), (chart.right, y_of(value))], GRID)
        canvas.text((chart.left - GAP, y_of(value)), text, TEXT_SIZE, MUTED, "rm")
    for value in ticks(first, last, min(2 * TICKS, int((chart.right - chart.left) / (4 * TEXT_SIZE))), whole=True):
        canvas.line([(x_of(value), chart.bottom), (x_of(value), chart.bottom + 4)], FRAME)
        canvas.text((x_of(value), chart.bottom + GAP), str(int(value)), TEXT_SIZE, MUTED, "ma")
    canvas.rectangle(chart, outline=FRAME)
    canvas.text(((chart.left + chart.right) / 2, box.bottom), panel.x_label, TEXT_SIZE, MUTED, "md")
    baseline = box.top + PANEL_TITLE_SIZE
    canvas.text((box.left, baseline), panel.title, PANEL_TITLE_SIZE, anchor="ls")
    canvas.text((chart.right + GAP, baseline), panel.bands_label, TEXT_SIZE, MUTED, "ls")
    _draw_band_names(canvas, panel, chart, low, high, y_of)
    for line in panel.lines:
        points = [(x_of(x), y_of(value)) for x, value in zip(panel.x, line.values, strict=True)]
        canvas.line(points, line.colour, 2.5 if len(points) <= MOST_DOTS else 2.0)
        if len(points) <= MOST_DOTS:
            for x, y in points:
                canvas.dot(x, y, 4.0, line.colour)
    for level in panel.levels:
        canvas.dashes(chart.left, chart.right, y_of(level.value), TEXT)
    _draw_legend(canvas, panel, chart.right - (2 * GAP if panel.bands else 0), baseline)


def _draw_band_names(canvas: Canvas, panel: Panel, chart: Box, low: float, high: float, y_of: Callable[[float], float]) -> None:
    """Names next to the bands: the first, the last, and of those between every one, second, fifth... for which there is room."""
    seen = [band for band in panel.bands if band.high > low and band.low < high]
    if not seen:
        return
    places = [(y_of(max(band.low, low)) + y_of(min(band.high, high))) / 2 for band in seen]
    closest = min((abs(after - before) for before, after in pairwise(places)), default=TEXT_SIZE)
    step = next((step for step in (1, 2, 5, 10) if step * closest >= TEXT_SIZE), len(seen))
    named: list[int] = []
    for index in (0, len(seen) - 1, *range(0, len(seen), step)):
        if all(abs(places[index] - places[other]) >= TEXT_SIZE for other in named):
            named.append(index)
            canvas.text((chart.right + GAP, places[index]), seen[index].label, TEXT_SIZE, MUTED, "lm")


def _draw_legend(canvas: Canvas, panel: Panel, right: float, baseline: float) -> None:
    """Names of lines and levels, each after a piece of it, from the right end of the title's row."""
    y = baseline - TEXT_SIZE / 3
    items: list[Line | Level] = [*panel.lines, *panel.levels]
    for item in reversed([item for item in items if item.label]):
        canvas.text((right, baseline), item.label, TEXT_SIZE, MUTED, "rs")
        right -= _text_width(item.label, TEXT_SIZE) + GAP
        if isinstance(item, Line):
            canvas.line([(right - SAMPLE, y), (right, y)], item.colour, 2.5)
        else:
            canvas.dashes(right - SAMPLE, right, y, TEXT)
        right -= SAMPLE + 2 * GAP


def _y_range(panel: Panel) -> tuple[float, float]:
    """The asked range, widened where values lie outside, with a little room there, and where it is but one value."""
    values = [value for line in panel.lines for value in line.values]
    low, high = min(panel.low, *values), max(panel.high, *values)
    if low == high:
        return low - 0.5, high + 0.5
    room = 0.06 * (high - low)
    return low - (room if low < panel.low else 0.0), high + (room if high > panel.high else 0.0)


def _tick_texts(values: Sequence[float]) -> list[str]:
    """Texts with as many decimals as tell neighbours apart."""
    step = min((after - before for before, after in pairwise(values)), default=1.0)
    decimals = max(0, -floor(log10(step) + 1e-6))
    return [f"{value:.{decimals}f}" for value in values]


def _text_width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)
