"""What the autoencoder learns from: a view of a picture, and another one, moved or scaled, that its latent must also give.

Both are cut out of the picture itself, so the second is exact. A batch is made from its number alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..seeds import number
from .library import Item
from .procedural.dice import Dice

LATENT = 8  # pixels
# Width and height of a batch's views, and how often. Mixed, as one autoencoder serves every size.
SIZES = (
    ((96, 96), 6),
    ((128, 96), 3),
    ((96, 128), 3),
    ((128, 128), 5),
    ((160, 128), 2),
    ((128, 160), 2),
    ((192, 192), 3),
    ((256, 192), 1),
)
SAME, SHIFTED, NEARER, FARTHER = "same", "shifted", "nearer", "farther"
WAYS = (SAME, SAME, SAME, SAME, SHIFTED, SHIFTED, NEARER, FARTHER)
ZOOM_OUT = 0.75


@dataclass(frozen=True)
class Views:
    """A batch. pictures: what is encoded, uint8 [b, 3, h, w]; wanted: what should come back, uint8 [b, 3, h', w'].

    grid: where the places of the wanted latents are in the encoded one, [b, h' / 8, w' / 8, 2] in -1..1, or None where they
    are the same. noise, like the wanted latents; levels [b] in 0..1.
    """

    pictures: Tensor
    wanted: Tensor
    grid: Tensor | None
    noise: Tensor
    levels: Tensor


class ViewBatches(torch.utils.data.Dataset):
    """Batch `step` of about `pixels` pixels: views of stills, and of frames of clips, or of what there is of the two."""

    def __init__(self, items: list[Item], pixels: int, seed: int) -> None:
        stills, clips = ([item for item in items if (item.frames > 1) == moves] for moves in (False, True))
        self.stills, self.clips = stills or clips, clips or stills
        self.pixels, self.seed = pixels, seed

    def __getitem__(self, step: int) -> Views:
        dice = Dice(number(self.seed, "views", step))
        width, height = dice.choice([size for size, weight in SIZES for _ in range(weight)])
        way = dice.choice(WAYS)
        count = max(1, round(self.pixels / (width * height)))
        parts = [self.view(dice, width, height, way) for _ in range(count)]
        pictures, wanted = (torch.stack([part[i] for part in parts]) for i in (0, 1))
        grid = None if way == SAME else torch.stack([part[2] for part in parts])
        size = (count, 4, wanted.shape[2] // LATENT, wanted.shape[3] // LATENT)
        generator = torch.Generator().manual_seed(number(self.seed, "noise", step))
        return Views(pictures, wanted, grid, torch.randn(size, generator=generator), torch.rand(count, generator=generator))

    def view(self, dice: Any, width: int, height: int, way: str) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded view, wanted view, grid. A shifted one is encoded with a margin of a latent."""
        items = self.stills if dice.chance(0.6) else self.clips
        item = items[dice.integer(0, len(items) - 1)]
        pixels = item.pixels[dice.integer(0, item.frames - 1)]
        if way == SHIFTED:
            width, height = width + LATENT, height + LATENT
        box = draw_box(dice, item.width, item.height, width, height)
        inner, size = (0.0, 0.0, float(width), float(height)), (width, height)
        if way == SHIFTED:
            x, y = dice.integer(0, LATENT), dice.integer(0, LATENT)
            size = (width - LATENT, height - LATENT)
            inner = (x, y, x + size[0], y + size[1])
        elif way in (NEARER, FARTHER):
            if way == FARTHER:  # smaller pictures of up to as much
                size = (round(width * ZOOM_OUT / LATENT) * LATENT, round(height * ZOOM_OUT / LATENT) * LATENT)
            zoom = dice.uniform(1.0, 1 / ZOOM_OUT) * size[0] / width
            w, h = min(width, size[0] / zoom), min(height, size[1] / zoom)
            x, y = dice.uniform(0, width - w), dice.uniform(0, height - h)
            inner = (x, y, x + w, y + h)
        flipped = dice.chance(0.5)
        encoded, wanted = (
            cut(pixels, part, to, flipped) for part, to in ((box, (width, height)), (inside(box, inner, width, height), size))
        )
        if flipped:
            inner = (width - inner[2], inner[1], width - inner[0], inner[3])
        return encoded, wanted, latent_grid(inner, size, width, height)


def draw_box(dice: Any, width: int, height: int, to_width: int, to_height: int) -> tuple[float, float, float, float]:
    """A part of a picture of the aspect that is wanted: half of the time as large as it goes, else down to its own pixels."""
    largest = min(width / to_width, height / to_height)
    scale = largest if dice.chance(0.5) else dice.uniform(min(1.0, largest), largest)
    w, h = to_width * scale, to_height * scale
    left, top = dice.uniform(0, width - w), dice.uniform(0, height - h)
    return (left, top, left + w, top + h)


def inside(box: tuple, inner: tuple, width: int, height: int) -> tuple:
    """A part, in pixels of a view, as a part of the picture that the view is cut from."""
    x, y = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    return (box[0] + inner[0] * x, box[1] + inner[1] * y, box[0] + inner[2] * x, box[1] + inner[3] * y)


def cut(pixels: np.ndarray, box: tuple, size: tuple, flipped: bool) -> Tensor:
    """Part of a picture at a size, uint8 [3, h, w]."""
    from PIL import Image

    box = (max(0, box[0]), max(0, box[1]), min(pixels.shape[1], box[2]), min(pixels.shape[0], box[3]))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box)
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def latent_grid(inner: tuple, size: tuple, width: int, height: int) -> Tensor:
    """For torch's grid_sample: the places of the wanted latents in the encoded one, [h / 8, w / 8, 2]."""
    columns, rows = size[0] // LATENT, size[1] // LATENT
    x = (inner[0] + (torch.arange(columns) + 0.5) * (inner[2] - inner[0]) / columns) / width * 2 - 1
    y = (inner[1] + (torch.arange(rows) + 0.5) * (inner[3] - inner[1]) / rows) / height * 2 - 1
    return torch.stack([x[None].expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1)
