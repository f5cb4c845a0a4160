"""The figure of the claims: what was asked against what came out, one panel per claim."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...motion.buckets import BUCKETS
from ...motion.plot import Level, Line, Panel, draw
from .claims import DIRECTION, IDENTITY, RANK, Row

if TYPE_CHECKING:
    from PIL import Image

SIZE = (1200, 860)
YELLOW, GREY, BLUE, RED = (255, 190, 60), (150, 150, 160), (110, 165, 255), (255, 105, 97)
COLOURS = (YELLOW, BLUE, RED)
HIGHER_IS_BETTER = {IDENTITY}


def draw_claims(rows: Sequence[Row]) -> "Image.Image":
    """A panel for each row that has values, RGB."""
    makers = {RANK: bucket_panel, DIRECTION: caption_panel}
    panels = [makers.get(row.measure, paired_panel)(row) for row in rows if row.values]
    reached = sum(row.passed for row in rows)
    return draw("What the paper claims, measured", f"{reached} of {len(rows)} bars reached", panels, 2, *SIZE)


def bucket_panel(row: Row) -> Panel:
    """Mean and middle 80 % of the measured bucket over the requested one."""
    measured = [np.array(row.values[str(bucket)]) for bucket in range(BUCKETS)]
    lines = [
        Line([float(np.percentile(m, 90)) for m in measured], GREY, "10 and 90 %"),
        Line([float(np.percentile(m, 10)) for m in measured], GREY),
        Line([float(m.mean()) for m in measured], YELLOW, "mean"),
        Line(list(range(BUCKETS)), BLUE, "as requested"),
    ]
    return Panel("Measured bucket", "requested bucket", range(BUCKETS), lines, 0, BUCKETS - 1)


def caption_panel(row: Row) -> Panel:
    """Share of clips that move as their caption says, by caption, the best first."""
    shares = sorted(row.values.items(), key=lambda item: -item[1])
    label = f"caption, the best first; the last: {shares[-1][0].removeprefix('the ')}"
    line = Line([share for _, share in shares], YELLOW)
    return Panel("Share of clips that move as asked", label, range(len(shares)), [line], 0, 1, levels=[Level(0.85, "bar")])


def paired_panel(row: Row) -> Panel:
    """By how much the first way beats each other one on the same picture and noise, the greatest advantage first."""
    (first, ours), *others = row.values.items()
    sign = 1 if row.measure in HIGHER_IS_BETTER else -1
    gains = {name: sorted((sign * (np.array(ours) - np.array(theirs))).tolist(), reverse=True) for name, theirs in others}
    lines = [Line(values, colour, f"than {name}") for (name, values), colour in zip(gains.items(), COLOURS, strict=False)]
    everything = [value for values in gains.values() for value in values]
    title, label = f"{row.measure[0].upper()}{row.measure[1:]}", f"clip, sorted by how much better {first} is"
    return Panel(title, label, range(len(ours)), lines, min(0, *everything), max(0, *everything), levels=[Level(0, "alike")])
