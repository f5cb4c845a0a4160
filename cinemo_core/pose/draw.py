"""Draws a figure as DWPose does (arXiv 2307.15880), which is what pose-driven models were trained on.

Limbs are ellipses, dimmed; joints, hands and face are drawn over them at full brightness, on black. Sizes are those of a picture whose
shorter side has 512 pixels.
"""

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

from .figure import BODY, THRESHOLD, Figure

DRAWN_AT = 512
LIMB, JOINT, FACE_DOT, BONE = 4, 4, 3, 2  # half width of a limb, radii, width of a hand's bone
DIMMED = 0.6
# From the neck outwards: shoulders, arms, hips, legs, head.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
FINGERS = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))  # five, of four bones each
WHITE, BLUE = (255, 255, 255), (0, 0, 255)


def hue(index: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index / count, 1, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_figure(figure: Figure, *, hands: bool = True, face: bool = True) -> np.ndarray:
    """RGB uint8 [height, width, 3]."""
    unit = min(figure.width, figure.height) / DRAWN_AT
    picture = Image.new("RGB", (figure.width, figure.height))
    canvas = ImageDraw.Draw(picture)
    for i, (first, second) in enumerate(LIMBS):
        if figure.sees(first, second):
            canvas.polygon(ellipse(figure.body[first, :2], figure.body[second, :2], max(1.0, LIMB * unit)), fill=hue(i, BODY))
    picture = picture.point(lambda value: int(value * DIMMED))
    canvas = ImageDraw.Draw(picture)
    for i, joint in enumerate(figure.body):
        dot(canvas, joint, JOINT * unit, hue(i, BODY))
    for hand in (figure.right_hand, figure.left_hand) if hands else ():
        for i, (first, second) in enumerate(FINGERS):
            if min(hand[first, 2], hand[second, 2]) >= THRESHOLD:
                ends = (*hand[first, :2], *hand[second, :2])
                canvas.line(ends, fill=hue(i, len(FINGERS)), width=max(1, round(BONE * unit)))
        for joint in hand:
            dot(canvas, joint, JOINT * unit, BLUE)
    for point in figure.face if face else ():
        dot(canvas, point, FACE_DOT * unit, WHITE)
    return np.asarray(picture)


def dot(canvas: ImageDraw.ImageDraw, point: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    if point[2] >= THRESHOLD:
        radius = max(0.5, radius)
        x, y = point[:2]
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def ellipse(first: np.ndarray, second: np.ndarray, half_width: float) -> list[tuple[float, float]]:
    """The outline of an ellipse that reaches from one point to the other."""
    (x, y), along = (first + second) / 2, (second - first) / 2
    length = max(math.hypot(*along), 1e-6)
    across = np.array([-along[1], along[0]]) / length * half_width
    angles = (2 * math.pi * i / 72 for i in range(72))
    return [(x + math.cos(a) * along[0] + math.sin(a) * across[0], y + math.cos(a) * along[1] + math.sin(a) * across[1]) for a in angles]
