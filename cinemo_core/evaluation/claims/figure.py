"""The figure of the claims: what was asked against what came out, one panel per claim."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...motion import BUCKETS
from ...plot import Level, Line, Panel, draw
from .claims import DIRECTION, RANK, Row

if TYPE_CHECKING:
    from PIL import Image

SIZE = (1200, 860)
YELLOW, GREY, BLUE, RED = (255, 190, 60), (150, 150, 160), (110, 165, 255), (255, 105, 97)
COLOURS = (YELLOW, BLUE, RED)


def draw_claims(rows: Sequence[Row]) -> "Image.Image":
    """A panel for each row that has values, RGB."""
    makers = {RANK: bucket_panel, DIRECTION: caption_panel}
    panels = [makers.get(row.measure, seeds_panel)(row) for row in rows if row.values and row.claim != "smoothness"]
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
    shares = sorted(row.values.values(), reverse=True)
    return Panel(
        "Share of clips that move as told", "caption", range(len(shares)), [Line(shares, YELLOW)], 0, 1, levels=[Level(0.85, "bar")]
    )


def seeds_panel(row: Row) -> Panel:
    """One value per seed and way."""
    count = len(next(iter(row.values.values())))
    lines = [Line(values, colour, name) for (name, values), colour in zip(row.values.items(), COLOURS, strict=False)]
    everything = [value for values in row.values.values() for value in values]
    return Panel(row.measure.capitalize(), "seed", range(count), lines, min(everything), max(everything))
