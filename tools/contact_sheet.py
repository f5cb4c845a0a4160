"""Lays the frames of a clip out on one picture, for a look at all of them at once."""

from collections.abc import Sequence
from math import ceil, sqrt

from PIL import Image, ImageDraw, ImageFont

GAP = 8
CAPTION_SIZE = 18
LEAST_WIDTH, MOST_WIDTH = 192, 512  # smaller frames are enlarged by a whole number, larger ones made smaller
BACKGROUND, TEXT, MARK = (24, 24, 28), (230, 230, 230), (255, 176, 0)


def contact_sheet(frames: Sequence[Image.Image], caption: str) -> Image.Image:
    """A grid of the frames in reading order, each with its number, the first (the input image) framed, the caption below."""
    width, height = size_of(frames[0])
    method = Image.Resampling.LANCZOS if width < frames[0].width else Image.Resampling.NEAREST
    columns = ceil(sqrt(len(frames)))
    rows = ceil(len(frames) / columns)
    font = ImageFont.load_default(CAPTION_SIZE)
    lines = wrap(caption, font, columns * (width + GAP) - GAP)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP + len(lines) * (CAPTION_SIZE + GAP)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, frame in enumerate(frames):
        x, y = GAP + index % columns * (width + GAP), GAP + index // columns * (height + GAP)
        sheet.paste(frame.convert("RGB").resize((width, height), method), (x, y))
        if index == 0:
            draw.rectangle((x - 4, y - 4, x + width + 3, y + height + 3), outline=MARK, width=4)
        label = f"{index} input" if index == 0 else str(index)
        draw.text((x + 6, y + 4), label, font=font, fill=MARK if index == 0 else TEXT, stroke_width=2, stroke_fill=BACKGROUND)
    for line, text in enumerate(lines):
        draw.text((GAP, rows * (height + GAP) + GAP + line * (CAPTION_SIZE + GAP)), text, font=font, fill=TEXT)
    return sheet


def size_of(frame: Image.Image) -> tuple[int, int]:
    """Width and height that a frame is shown at."""
    width, height = frame.size
    if width > MOST_WIDTH:
        return MOST_WIDTH, round(height * MOST_WIDTH / width)
    scale = ceil(LEAST_WIDTH / width)
    return width * scale, height * scale


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines that fit into `width` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
