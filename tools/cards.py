"""Draws the template cards of workflows whose results cannot be shown, as no published weights come with the pack.

    python dev.py py -m tools.cards

A card is a scheme, and says so: which pictures go in, which frames come out.
"""

import math
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFont

from .environment import ROOT

SIZE, DRAWN = 512, 1024  # pixels of a card; drawn larger, for smooth edges
PAPER, INK, GIVEN = (24, 26, 32), (225, 228, 235), (255, 176, 32)
SKY, HILL, SUN, LINE = (98, 150, 214), (58, 120, 78), (255, 214, 102), (40, 40, 46)
Colour = tuple[int, int, int]


def scene(time: float, size: int) -> Image.Image:
    """A sun that passes over hills; time 0..1."""
    picture = Image.new("RGB", (size, size), SKY)
    pen = ImageDraw.Draw(picture)
    x, y = size * (0.2 + 0.6 * time), size * (0.5 - 0.28 * math.sin(math.pi * (0.15 + 0.7 * time)))
    pen.circle((x, y), size * 0.11, fill=SUN)
    pen.ellipse((-size * 0.4, size * 0.6, size * 0.8, size * 1.5), fill=HILL)
    pen.ellipse((size * 0.3, size * 0.68, size * 1.5, size * 1.6), fill=(74, 142, 92))
    return picture


def drawing(time: float, size: int) -> Image.Image:
    """A figure in lines that raises an arm; time 0..1."""
    picture = Image.new("RGB", (size, size), (246, 242, 232))
    pen = ImageDraw.Draw(picture)
    width, centre = max(3, size // 40), size * 0.5
    pen.circle((centre, size * 0.28), size * 0.12, outline=LINE, width=width, fill=(255, 226, 198))
    pen.line((centre, size * 0.4, centre, size * 0.7), fill=LINE, width=width)
    for side in (-1, 1):
        pen.line((centre, size * 0.7, centre + side * size * 0.14, size * 0.93), fill=LINE, width=width)
        angle = math.radians(60 - 110 * time) if side > 0 else math.radians(60)
        pen.line(
            (centre, size * 0.48, centre + side * size * 0.27 * math.cos(angle), size * 0.48 + size * 0.27 * math.sin(angle)),
            fill=LINE,
            width=width,
        )
    return picture


def place(card: Image.Image, picture: Image.Image, x: int, y: int, edge: Colour) -> None:
    card.paste(picture, (x, y))
    ImageDraw.Draw(card).rectangle((x - 6, y - 6, x + picture.width + 5, y + picture.height + 5), outline=edge, width=6)


def arrow(card: Image.Image, start: tuple[int, int], end: tuple[int, int]) -> None:
    pen = ImageDraw.Draw(card)
    pen.line((*start, *end), fill=INK, width=10)
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    tips = [(end[0] - 34 * math.cos(angle + turn), end[1] - 34 * math.sin(angle + turn)) for turn in (0.5, -0.5)]
    pen.polygon([end, *tips], fill=INK)


def strip(card: Image.Image, draw: Callable[[float, int], Image.Image], y: int, times: list[float], given: set[int]) -> None:
    """Frames in a row; those that are the person's own pictures are framed in orange."""
    size, gap = 200, 36
    left = (DRAWN - len(times) * size - (len(times) - 1) * gap) // 2
    for i, time in enumerate(times):
        place(card, draw(time, size), left + i * (size + gap), y, GIVEN if i in given else INK)


def animate(card: Image.Image) -> None:
    place(card, scene(0, 400), 312, 90, GIVEN)
    arrow(card, (512, 520), (512, 610))
    strip(card, scene, 660, [0, 0.33, 0.67, 1], {0})


def first_and_last(card: Image.Image) -> None:
    place(card, scene(0, 360), 90, 110, GIVEN)
    place(card, scene(1, 360), 574, 110, GIVEN)
    arrow(card, (270, 500), (400, 610))
    arrow(card, (754, 500), (624, 610))
    strip(card, scene, 660, [0, 0.33, 0.67, 1], {0, 3})


def loop(card: Image.Image) -> None:
    size, radius, count = 210, 300, 6
    for i in range(count):
        turn = 2 * math.pi * i / count - math.pi / 2
        x, y = (round(512 + radius * part - size / 2) for part in (math.cos(turn), math.sin(turn)))
        place(card, scene(0.5 - 0.5 * math.cos(2 * math.pi * i / count), size), x, y - 30, INK if i else GIVEN)
    ImageDraw.Draw(card).arc((402, 372, 622, 592), 130, 420, fill=INK, width=10)
    arrow(card, (585, 570), (560, 584))


def parts(card: Image.Image) -> None:
    pen, font = ImageDraw.Draw(card), ImageFont.load_default(size=44)
    for i, name in enumerate(("noise", "guider", "sampler", "steps")):
        x, y = 100 + 440 * (i % 2), 110 + 190 * (i // 2)
        pen.rounded_rectangle((x, y, x + 384, y + 130), 18, outline=INK, width=6)
        pen.text((x + 192, y + 65), name, font=font, fill=INK, anchor="mm")
    arrow(card, (512, 500), (512, 610))
    strip(card, scene, 660, [0, 0.33, 0.67, 1], {0})


def drawings(card: Image.Image) -> None:
    place(card, drawing(0, 360), 90, 110, GIVEN)
    place(card, drawing(1, 360), 574, 110, GIVEN)
    arrow(card, (270, 500), (400, 610))
    arrow(card, (754, 500), (624, 610))
    strip(card, drawing, 660, [0, 0.33, 0.67, 1], {0, 3})


def low_band(card: Image.Image) -> None:
    """The picture and noise, the noise with the picture's low frequencies, and the clip that begins there."""
    size = 250
    picture, noise = scene(0, size), Image.effect_noise((size, size), 150).convert("RGB")
    blurred = picture.resize((6, 6), Image.Resampling.BOX).resize((size, size), Image.Resampling.BICUBIC)
    for (x, y), shown, edge in (
        ((60, 80), picture, GIVEN),
        ((60, 370), noise, INK),
        ((714, 225), Image.blend(noise, blurred, 0.5), INK),
    ):
        place(card, shown, x, y, edge)
    arrow(card, (350, 210), (670, 320))
    arrow(card, (350, 490), (670, 380))
    arrow(card, (839, 500), (700, 640))
    strip(card, scene, 680, [0, 0.33, 0.67, 1], {0})


def calmer(card: Image.Image) -> None:
    """A clip in which the light changes, and the same clip with 0.6 of the change."""

    def dusk(change: float, size: int) -> Image.Image:
        day = scene(0.5, size)
        return Image.blend(day, Image.new("RGB", day.size, (30, 20, 60)), 0.85 * change)

    strip(card, dusk, 140, [0, 0.33, 0.67, 1], {0, 1, 2, 3})
    arrow(card, (512, 410), (512, 550))
    strip(card, dusk, 620, [0, 0.2, 0.4, 0.6], set())


CARDS: dict[str, Callable[[Image.Image], None]] = {
    "Animate an image (DynamiCrafter)": animate,
    "First and last frame (DynamiCrafter)": first_and_last,
    "Make a loop (DynamiCrafter)": loop,
    "Custom sampling (DynamiCrafter)": parts,
    "Connect two drawings (ToonCrafter)": drawings,
    "Make a clip calmer (any model)": calmer,
    "DCTInit noise (SVD)": low_band,
    "DCTInit noise (Wan)": low_band,
}


def main() -> None:
    for title, draw in CARDS.items():
        card = Image.new("RGB", (DRAWN, DRAWN), PAPER)
        draw(card)
        words = "a scheme, not a result"
        ImageDraw.Draw(card).text((512, 975), words, font=ImageFont.load_default(size=40), fill=(150, 155, 165), anchor="mm")
        card.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(ROOT / "workflows" / f"{title}.jpg", quality=90)


if __name__ == "__main__":
    main()
