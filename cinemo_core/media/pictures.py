"""Pictures: upright, as EXIF says that they were taken, and in RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import reading

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read_picture(path: Path) -> Image.Image:
    """A picture file, upright, RGB. Raises BadMedia for one that cannot be read."""
    from PIL import Image

    with reading(path), Image.open(path) as picture:
        return upright(picture)


def check_picture(path: Path) -> None:
    """Raise BadMedia for a file that is no picture, or is damaged where it can be seen without decoding it."""
    from PIL import Image

    with reading(path), Image.open(path) as picture:
        picture.verify()


def upright(picture: Image.Image) -> Image.Image:
    """An open picture, decoded and turned as its EXIF orientation says: RGB."""
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I"):  # 16 bits a pixel, which converting would cut at 255
        turned = turned.point(lambda value: value * (1 / 256)).convert("L")
    return turned.convert("RGB")


def cover(picture: Image.Image, width: int, height: int) -> Tensor:
    """Scale a picture until it fills the size, cut the rest off evenly: uint8 [3, height, width]."""
    import numpy as np
    from PIL import Image

    scale = max(width / picture.width, height / picture.height)
    left, top = max(0.0, (picture.width - width / scale) / 2), max(0.0, (picture.height - height / scale) / 2)
    box = (left, top, picture.width - left, picture.height - top)
    resized = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
