"""Draws the template cards of workflows whose results cannot be shown, as no published weights come with the pack.

    python dev.py py -m tools.cards

A card is a scheme, and says so: which pictures go in, which frames come out.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cinemo_core.pose.align import align
from cinemo_core.pose.draw import LIMBS, draw_figure
from cinemo_core.pose.figure import Figure, moved
from cinemo_core.pose.motions import MOTIONS
from cinemo_core.pose.skeleton import Posture, photograph, pose

from .environment import ROOT
from .result_card import GIVEN, INK, PAPER

SIZE, DRAWN = 512, 1024  # pixels of a card; drawn larger, for smooth edges
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


def angles(time: float) -> dict[str, float]:
    """Directions of a dancing figure's limbs in degrees, 90 being down; time 0..1."""
    swing = math.sin(2 * math.pi * time)
    return {"left arm": 140 + 70 * swing, "right arm": 40 + 70 * swing, "left leg": 105 + 14 * swing, "right leg": 75 + 14 * swing}


def limbs(time: float, size: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The ends of trunk, arms and legs."""
    neck, hip = (size * 0.5, size * 0.32), (size * 0.5, size * 0.6)
    ends = [(neck, hip)]
    for name, angle in angles(time).items():
        start, length = (neck, size * 0.3) if "arm" in name else (hip, size * 0.33)
        ends.append((start, (start[0] + length * math.cos(math.radians(angle)), start[1] + length * math.sin(math.radians(angle)))))
    return ends


def skeleton(time: float, size: int) -> Image.Image:
    """A pose as lines in colours on black."""
    picture = Image.new("RGB", (size, size), (0, 0, 0))
    pen = ImageDraw.Draw(picture)
    colours = ((60, 120, 255), (255, 90, 60), (255, 190, 60), (80, 220, 120), (70, 210, 230))
    for (start, end), colour in zip(limbs(time, size), colours, strict=True):
        pen.line((*start, *end), fill=colour, width=max(4, size // 36))
        for joint in (start, end):
            pen.circle(joint, size * 0.025, fill=(240, 240, 240))
    pen.circle((size * 0.5, size * 0.2), size * 0.03, fill=(240, 240, 240))
    return picture


def character(time: float, size: int) -> Image.Image:
    """A person in that pose, in a room."""
    picture = Image.new("RGB", (size, size), (206, 220, 226))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, size * 0.82, size, size), fill=(176, 150, 120))
    trunk, *others = limbs(time, size)
    width = max(8, size // 12)
    for i, (start, end) in enumerate(others):
        colour = (52, 74, 110) if i > 1 else (236, 188, 150)
        pen.line((*start, *end), fill=colour, width=width)
        pen.circle(end, width / 2, fill=colour)
    pen.rounded_rectangle((size * 0.39, trunk[0][1] - width / 2, size * 0.61, trunk[1][1] + width / 3), size * 0.06, fill=(200, 70, 84))
    pen.circle((size * 0.5, size * 0.19), size * 0.1, fill=(236, 188, 150))
    pen.chord((size * 0.4, size * 0.09, size * 0.6, size * 0.29), 180, 360, fill=(84, 54, 40))
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


def stock(card: Image.Image, name: str = "KSampler") -> None:
    pen, font = ImageDraw.Draw(card), ImageFont.load_default(size=44)
    place(card, scene(0, 300), 90, 110, GIVEN)
    pen.rounded_rectangle((500, 180, 934, 340), 18, outline=INK, width=6)
    pen.text((717, 260), name, font=font, fill=INK, anchor="mm")
    arrow(card, (405, 260), (485, 260))
    arrow(card, (717, 360), (717, 600))
    strip(card, scene, 660, [0, 0.33, 0.67, 1], {0})


def control(card: Image.Image) -> None:
    """A control picture for every frame, which the clip follows."""
    place(card, scene(0, 300), 362, 70, GIVEN)
    strip(card, outlines, 430, [0, 0.33, 0.67, 1], {0, 1, 2, 3})
    arrow(card, (512, 642), (512, 702))
    strip(card, scene, 726, [0, 0.33, 0.67, 1], set())


def outlines(time: float, size: int) -> Image.Image:
    """Edges of the scene, white on black."""
    edges = scene(time, size).convert("L").filter(ImageFilter.FIND_EDGES).point(lambda value: 255 if value > 24 else 0)
    pen = ImageDraw.Draw(edges)
    pen.rectangle((0, 0, size - 1, size - 1), outline=0, width=3)
    return edges.convert("RGB")


def boxes(card: Image.Image, names: Sequence[str], top: int, apart: int = 160) -> None:
    """Names in boxes, two in a row."""
    pen, font = ImageDraw.Draw(card), ImageFont.load_default(size=44)
    for i, name in enumerate(names):
        x, y = 100 + 440 * (i % 2), top + apart * (i // 2)
        pen.rounded_rectangle((x, y, x + 384, y + 130), 18, outline=INK, width=6)
        pen.text((x + 192, y + 65), name, font=font, fill=INK, anchor="mm")


def parts(card: Image.Image) -> None:
    boxes(card, ("noise", "guider", "sampler", "steps"), 110, 190)
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


def follow_poses(card: Image.Image) -> None:
    place(card, character(0, 300), 362, 70, GIVEN)
    strip(card, skeleton, 430, DANCE, set(range(len(DANCE))))
    arrow(card, (512, 642), (512, 702))
    strip(card, character, 726, DANCE, set())


def long_clip(card: Image.Image) -> None:
    """Frames in windows that share some."""
    pen, count, size = ImageDraw.Draw(card), 8, 108
    place(card, character(0, 240), 392, 60, GIVEN)
    for draw, y, edge in ((skeleton, 370, GIVEN), (character, 800, INK)):
        for i in range(count):
            place(card, draw(i / count, size), 24 + i * 125, y, edge)
    for i, (first, last) in enumerate(((0, 3), (2, 5), (4, 7))):
        y = 540 + 62 * i
        pen.rounded_rectangle((24 + first * 125, y, 24 + last * 125 + size, y + 40), 14, outline=INK, width=6)
    arrow(card, (512, 726), (512, 780))


def dressed(figure: Figure, size: int) -> Image.Image:
    """A person with the limbs of a figure in a square picture, in the same room."""
    picture = character(0, size)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, size, size * 0.82), fill=(206, 220, 226))
    pen.rectangle((0, size * 0.82, size, size), fill=(176, 150, 120))
    place_of = [tuple(float(value) for value in point[:2]) for point in figure.body]
    width = max(6, round(size / 15))
    for first, second in LIMBS[2:12]:
        colour = (236, 188, 150) if first < 8 and second < 8 else (200, 70, 84) if first == 1 else (52, 74, 110)
        pen.line((*place_of[first], *place_of[second]), fill=colour, width=width)
        pen.circle(place_of[second], width / 2, fill=colour)
    pen.polygon([place_of[joint] for joint in (2, 5, 11, 8)], fill=(200, 70, 84))
    x, y = place_of[0]
    pen.circle((x, y), size * 0.06, fill=(236, 188, 150))
    pen.chord((x - size * 0.06, y - size * 0.06, x + size * 0.06, y + size * 0.06), 180, 360, fill=(84, 54, 40))
    return picture


def dance(card: Image.Image) -> None:
    """Poses of somebody tall become those of the character, who is small."""
    size = 200
    stands = moved(photograph(pose(Posture()), size, size), np.full(2, 0.7), np.array([size * 0.15, size * 0.24]), size, size)
    poses = [photograph(pose(MOTIONS["dance"](time)), size, size) for time in DANCE]
    place(card, dressed(stands, size), 276, 70, GIVEN)
    place(card, Image.fromarray(draw_figure(stands)), 548, 70, GIVEN)
    rows = ([Image.fromarray(draw_figure(figure)) for figure in poses], [dressed(figure, size) for figure in align(poses, stands).figures])
    for row, y, edge in zip(rows, (370, 696), (GIVEN, INK), strict=True):
        for i, picture in enumerate(row):
            place(card, picture, 58 + i * 236, y, edge)
    arrow(card, (512, 590), (512, 672))


def figure_parts(card: Image.Image) -> None:
    boxes(card, ("four files", "noise", "DDIM", "guidance"), 70)
    strip(card, skeleton, 420, DANCE, set(range(len(DANCE))))
    arrow(card, (512, 642), (512, 702))
    strip(card, character, 726, DANCE, set())


DANCE = [0, 0.25, 0.5, 0.75]
CARDS: dict[str, Callable[[Image.Image], None]] = {
    "Animate with KSampler (Cinemo)": stock,
    "Use a ControlNet (Cinemo)": control,
    "Use a LoRA (Cinemo)": partial(stock, name="Cinemo + LoRA"),
    "Animate an image (DynamiCrafter)": animate,
    "Animate with KSampler (DynamiCrafter)": stock,
    "First and last frame (DynamiCrafter)": first_and_last,
    "Make a loop (DynamiCrafter)": loop,
    "Custom sampling (DynamiCrafter)": parts,
    "Connect two drawings (ToonCrafter)": drawings,
    "Make a clip calmer (any model)": calmer,
    "DCTInit noise (SVD)": low_band,
    "DCTInit noise (Wan)": low_band,
    "Animate a character (Animate Anyone)": follow_poses,
    "Animate a character, long clip (Animate Anyone)": long_clip,
    "Custom sampling (Animate Anyone)": figure_parts,
    "Dance from a video (Animate Anyone)": dance,
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
