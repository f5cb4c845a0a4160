"""Makes the template card of a workflow from the clip that it saved: no graph, a moment large, the course of it below."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

SIZE, GAP, EDGE = 640, 12, 4  # pixels
PAPER, INK, GIVEN = (24, 26, 32), (225, 228, 235), (255, 176, 32)
SHOWN = 4  # frames in the row
MOMENT = 5  # the frame shown large: something has moved, and nano has lost little yet


def result_card(frames: Sequence[Image.Image]) -> Image.Image:
    """frames: of the clip, of one size. The input picture is framed in orange, as on the drawn cards."""
    card = Image.new("RGB", (SIZE, SIZE), PAPER)
    small = (SIZE - GAP * (SHOWN + 1)) // SHOWN
    large = SIZE - small - 3 * GAP
    last = len(frames) - 1
    moments = [round(last * i / (SHOWN - 1)) for i in range(SHOWN)]
    place(card, fitted(frames[min(MOMENT, last)], SIZE - 2 * GAP, large), (SIZE // 2, GAP + large // 2), INK)
    for i, moment in enumerate(moments):
        centre = (GAP + small // 2 + i * (small + GAP), SIZE - GAP - small // 2)
        place(card, fitted(frames[moment], small, small), centre, GIVEN if moment == 0 else INK)
    return card


def fitted(frame: Image.Image, width: int, height: int) -> Image.Image:
    """The whole frame, as large as it fits."""
    scale = min(width / frame.width, height / frame.height)
    return frame.convert("RGB").resize((round(frame.width * scale), round(frame.height * scale)), Image.Resampling.LANCZOS)


def place(card: Image.Image, picture: Image.Image, centre: tuple[int, int], edge: tuple[int, int, int]) -> None:
    """Paste a picture around a point, with an edge of this colour inside it."""
    x, y = centre[0] - picture.width // 2, centre[1] - picture.height // 2
    card.paste(picture, (x, y))
    ImageDraw.Draw(card).rectangle((x, y, x + picture.width - 1, y + picture.height - 1), outline=edge, width=EDGE)
