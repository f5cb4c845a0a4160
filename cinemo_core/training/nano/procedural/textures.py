"""Pictures to look at: textures and backdrops on a square canvas, [3, n, n] in 0..1.

A canvas spans -SPAN..SPAN in world units, twice what the camera sees at the start, so that it can move. It has two samples
per pixel of the view and nothing finer than a pixel, so that a frame is as sharp between two samples as on them.
"""

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import InputError
from ....files.walk import files_in
from ....media.errors import BadMedia
from ....media.pictures import read_picture
from .dice import Dice

SPAN = 2.0  # the view spans -1..1 along its longer side
SAMPLES_PER_PIXEL = 2
FINEST = 7  # pixels; what is finer than a latent (8 pixels) a small autoencoder cannot keep


def canvas_size(width: int, height: int) -> int:
    return round(SPAN * SAMPLES_PER_PIXEL * max(width, height))


def coordinates(n: int) -> tuple[Tensor, Tensor]:
    """World coordinates x, y of a canvas's samples, each [n, n]; y points down."""
    line = (torch.arange(n) + 0.5) * (2 * SPAN / n) - SPAN
    return line[None, :].expand(n, n), line[:, None].expand(n, n)


def fractal(dice: Dice, n: int, coarsest: int = 4, persistence: float = 0.55) -> Tensor:
    """Fractal noise in 0..1, [n, n]: grids of noise, each twice as fine and `persistence` times as strong as the one before.

    It ends at FINEST pixels of the view to a cell of the grid.
    """
    field, amplitude, cells = torch.zeros(1, 1, n, n), 1.0, coarsest
    while cells <= max(coarsest, n // (FINEST * SAMPLES_PER_PIXEL)):
        field += amplitude * F.interpolate(dice.field(1, 1, cells, cells) - 0.5, size=(n, n), mode="bicubic", align_corners=False)
        amplitude, cells = amplitude * persistence, cells * 2
    field = field[0, 0]
    return (field - field.min()) / (field.max() - field.min() + 1e-6)


def gradient_map(values: Tensor, colours: Tensor) -> Tensor:
    """Colour a field in 0..1 by a ramp through `colours` [k, 3]: [n, n] -> [3, n, n]."""
    position = values.clamp(0, 1) * (len(colours) - 1)
    lower = position.floor().long().clamp(max=len(colours) - 2)
    part = (position - lower)[..., None]
    return (colours[lower] * (1 - part) + colours[lower + 1] * part).movedim(-1, 0)


def palette(dice: Dice, count: int) -> Tensor:
    """Colours of one mood, dark to light: [count, 3]."""
    base = dice.field(1, 3)
    spread = dice.uniform(0.1, 0.45)
    light = torch.linspace(dice.uniform(0.0, 0.3), dice.uniform(0.7, 1.1), count)[:, None]
    colours = light * (0.45 + 0.55 * base) + spread * (dice.field(count, 3) - 0.5)
    return colours.clamp(0.02, 0.98)


def soft_step(values: Tensor, width: float) -> Tensor:
    """0 below -width/2, 1 above width/2, linear between."""
    return (values / width + 0.5).clamp(0, 1)


def marble(dice: Dice, n: int) -> Tensor:
    """Clouds of colour."""
    return gradient_map(fractal(dice, n, dice.choice((4, 6, 8)), dice.uniform(0.4, 0.7)), palette(dice, dice.integer(2, 4)))


def islands(dice: Dice, n: int) -> Tensor:
    """Patches of plain colours with sharp shores, as on a map."""
    field = fractal(dice, n, dice.choice((6, 8, 12)), dice.uniform(0.3, 0.6))
    image, *colours = (colour[:, None, None] for colour in palette(dice, dice.integer(2, 4)))
    for i, colour in enumerate(colours):
        # The slope of the field is about its range over a few pixels.
        image = image + soft_step(field - (i + 1) / (len(colours) + 1), 0.08) * (colour - image)
    return image


def waves(dice: Dice, n: int) -> Tensor:
    """Stripes bent by noise."""
    x, y = coordinates(n)
    angle, frequency = dice.uniform(0, math.pi), dice.uniform(1.5, 4.5)
    bend = dice.uniform(0, 0.5) * fractal(dice, n)
    sharp = dice.uniform(0.5, 2.0)
    stripes = 0.5 + sharp * torch.sin(2 * math.pi * frequency * (x * math.cos(angle) + y * math.sin(angle) + bend) / SPAN)
    return gradient_map(stripes, palette(dice, dice.integer(2, 4)))


def tiles(dice: Dice, n: int) -> Tensor:
    """Bricks or tiles: a colour each, a line between."""
    x, y = coordinates(n)
    wide, high = dice.uniform(0.4, 0.9), dice.uniform(0.35, 0.7)
    row = (y / high).floor()
    shifted = x / wide + 0.5 * (row % 2) * dice.integer(0, 1)
    column = shifted.floor()
    table = dice.field(64, 64)
    shade = table[row.long() % 64, column.long() % 64] * dice.uniform(0.4, 1.0)
    to_side, to_top = (0.5 - (shifted - column - 0.5).abs()) * wide, (0.5 - (y / high - row - 0.5).abs()) * high
    inside = soft_step(torch.minimum(to_side, to_top) - dice.uniform(0.03, 0.07), 6 * SPAN / n)
    colours = palette(dice, 3)
    return gradient_map(shade, colours) * inside + palette(dice, 2)[1][:, None, None] * (1 - inside)


def dots(dice: Dice, n: int) -> Tensor:
    """Soft spots of several colours on a plain ground."""
    x, y = coordinates(n)
    image = palette(dice, 2)[0][:, None, None] * torch.ones(3, n, n)
    for colour in palette(dice, dice.integer(8, 24)):
        cx, cy, radius = dice.uniform(-SPAN, SPAN), dice.uniform(-SPAN, SPAN), dice.uniform(0.15, 0.5)
        cover = soft_step(radius - ((x - cx) ** 2 + (y - cy) ** 2).sqrt(), 8 * SPAN / n)
        image = image + cover * (colour[:, None, None] - image)
    return image


def landscape(dice: Dice, n: int) -> Tensor:
    """Sky, sun, rows of hills, and a horizon."""
    x, y = coordinates(n)
    horizon = dice.uniform(-0.3, 0.4)
    image = gradient_map((y + SPAN) / (horizon + SPAN), palette(dice, 3))
    if dice.chance(0.6):
        distance = ((x - dice.uniform(-0.8, 0.8)) ** 2 + (y - dice.uniform(-0.8, horizon)) ** 2).sqrt()
        sun = soft_step(dice.uniform(0.1, 0.25) - distance, 0.08)
        image = image + sun * (torch.tensor([1.0, dice.uniform(0.7, 1), dice.uniform(0.3, 0.9)])[:, None, None] - image)
    for depth, colour in enumerate(palette(dice, dice.integer(2, 4)).flip(0)):
        ridge = fractal(dice, n, dice.choice((4, 6, 8)), 0.5)[n // 2] - 0.5
        top = horizon + 0.25 * depth + dice.uniform(0.2, 0.7) * ridge[None, :]
        ground = (colour[:, None, None] * (0.7 + 0.5 * fractal(dice, n, 8, 0.5))).clamp(0, 1)
        image = image + soft_step(y - top, 6 * SPAN / n) * (ground - image)
    return image


def photograph(dice: Dice, n: int, image: Tensor) -> Tensor:
    """A random part of a picture [3, h, w], mirrored at times, with its brightness and colours varied."""
    height, width = image.shape[1:]
    side = round(min(height, width) * dice.uniform(0.6, 1.0))
    top, left = dice.integer(0, height - side), dice.integer(0, width - side)
    part = image[None, :, top : top + side, left : left + side]
    # Half as fine as the view: a small autoencoder keeps no more.
    part = F.interpolate(part, size=(min(n // (2 * SAMPLES_PER_PIXEL), side),) * 2, mode="bilinear", antialias=True, align_corners=False)
    part = F.interpolate(part, size=(n, n), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    part = part.flip(2) if dice.chance(0.5) else part
    tint = 1 + 0.3 * (dice.field(3, 1, 1) - 0.5)
    return (part * tint * dice.uniform(0.8, 1.2)).clamp(0, 1)


def read_photographs(folder: Path) -> tuple[Tensor, ...]:
    """The pictures of a folder, [3, h, w] in 0..1, by name; files that cannot be read as pictures are logged and left out.

    Raises InputError where there is no such folder.
    """
    from torchvision.transforms.functional import to_tensor

    if not os.path.isdir(folder):
        raise InputError(f"data.photographs is {folder}, which is not a folder; give one with pictures, or leave it out.")
    pictures = []
    for path in files_in(folder):
        try:
            pictures.append(to_tensor(read_picture(path)))
        except BadMedia as error:
            logging.warning("%s; it is left out of the photographs.", error)
    return tuple(pictures)


TEXTURES: tuple[Callable[[Dice, int], Tensor], ...] = (marble, islands, islands, waves, tiles, dots, landscape, landscape)
