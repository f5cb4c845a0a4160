"""Makes the template card of a workflow from the clip that it saved: no graph, the sharpest moment large, the course of it below."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SIZE, GAP, EDGE = 640, 12, 4  # pixels
PAPER, INK, GIVEN = (24, 26, 32), (225, 228, 235), (255, 176, 32)
SHOWN = 4  # frames in the row


def result_card(frames: Sequence[Image.Image]) -> Image.Image:
    """frames: of the clip, of one size. The input picture is framed in orange, as on the drawn cards."""
    card = Image.new("RGB", (SIZE, SIZE), PAPER)
    small = (SIZE - GAP * (SHOWN + 1)) // SHOWN
    large = SIZE - small - 3 * GAP
    last = len(frames) - 1
    moments = [round(last * i / (SHOWN - 1)) for i in range(SHOWN)]
    place(card, fitted(frames[sharpest(frames)], SIZE - 2 * GAP, large), (SIZE // 2, GAP + large // 2), INK)
    for i, moment in enumerate(moments):
        centre = (GAP + small // 2 + i * (small + GAP), SIZE - GAP - small // 2)
        place(card, fitted(frames[moment], small, small), centre, GIVEN if moment == 0 else INK)
    return card


def sharpest(frames: Sequence[Image.Image]) -> int:
    """From the fourth part on, when something has moved: the frame whose neighbouring pixels differ most. Of one frame, that."""
    first = len(frames) // 4
    steps = [np.diff(np.asarray(frame.convert("L"), dtype=np.float32), axis=axis) for frame in frames[first:] for axis in (0, 1)]
    differences = [float(np.square(a).mean() + np.square(b).mean()) for a, b in zip(steps[::2], steps[1::2], strict=True)]
    return first + int(np.argmax(differences))


def fitted(frame: Image.Image, width: int, height: int) -> Image.Image:
    """The whole frame, as large as it fits."""
    scale = min(width / frame.width, height / frame.height)
    return frame.convert("RGB").resize((round(frame.width * scale), round(frame.height * scale)), Image.Resampling.LANCZOS)


def place(card: Image.Image, picture: Image.Image, centre: tuple[int, int], edge: tuple[int, int, int]) -> None:
    """Paste a picture around a point, with an edge of this colour inside it."""
    x, y = centre[0] - picture.width // 2, centre[1] - picture.height // 2
    card.paste(picture, (x, y))
    ImageDraw.Draw(card).rectangle((x, y, x + picture.width - 1, y + picture.height - 1), outline=edge, width=EDGE)
