"""Clips of latents in which the camera moves over a picture, drawn without end from latents of whole pictures.

Each picture is encoded once, large; what a frame sees is read between its latents. The motion score is that of the decoded
picture, moved in the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...media.pictures import cover
from ...motion.ssim import ssim
from ..frozen import decode, encode, load_vae
from ..group_norm import use_fast_norms
from .library import Item, Library
from .moves import WAYS, Move, latent_clip, place_view
from .procedural.dice import Dice

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

LATENT = 8  # pixels
FRAMES = 16
PAIRS = 3  # of frames that a clip is scored on
PANS, ZOOMS = (0.03, 0.5), (0.06, 0.8)  # least and greatest amount of a move, over the whole clip
COARSEST = 1.25  # latents of the picture to one of the clip's first frame, at most


class CameraClip(NamedTuple):
    """latents: scaled, [f, 4, h, w]; ssim: mean of consecutive frames as they decode; amount: as of the Move."""

    latents: Tensor
    ssim: float
    caption: str
    amount: float


@dataclass(frozen=True)
class Still:
    """A picture: scaled latents [4, H, W], float16, and what they decode to, uint8 [3, 8 H, 8 W]."""

    name: str
    latents: Tensor
    decoded: Tensor


def encode_stills(vae: Any, items: Sequence[Item], sides: Sequence[int], path: Path) -> None:
    """Write the first frame of each item at each size (its shorter side, in latents); the file appears when it is whole."""
    from PIL import Image

    rows = []
    for item in items:
        for side in sides:
            still = encode_still(vae, item.name, Image.fromarray(item.pixels[0]), side)
            rows.append({"name": still.name, "latents": still.latents, "decoded": still.decoded})
    partial = path.with_name(f".{path.name}.part")
    torch.save(rows, partial)
    partial.replace(path)


def encode_still(vae: Any, name: str, picture: "PillowImage", side: int) -> Still:
    """A picture at a size; side: the shorter one, in latents."""
    scale = side / min(picture.size)
    width, height = (round(length * scale) * LATENT for length in picture.size)
    latents = encode(vae, cover(picture, width, height)[None])
    return Still(name, latents[0].half().cpu(), decode(vae, latents)[0])


def encode_missing(vae_folder: Path, library: Library, train: Path, held_out: Path, sides: Sequence[int]) -> None:
    """Write those of the two files of encoded stills that are not there yet."""
    for path, items in ((held_out, library.held_out_stills), (train, library.training)):
        if not path.is_file():
            vae = load_vae(vae_folder)
            use_fast_norms(vae)
            with torch.autocast("cpu", torch.bfloat16):
                encode_stills(vae.to(memory_format=torch.channels_last), items, sides, path)


def read_stills(path: Path) -> list[Still]:
    table = torch.load(path, weights_only=True)
    return [Still(row["name"], row["latents"], row["decoded"]) for row in table]


def draw_clip(
    dice: Dice, stills: Sequence[Still], width: int, height: int, frames: int, captions: Sequence[str] = tuple(WAYS)
) -> CameraClip:
    """A move over one of the stills, seen at this size in latents."""
    while True:
        still = dice.choice(stills)
        caption = dice.choice(captions)
        least, most = ZOOMS if "zooms" in caption else PANS
        move = Move(caption, least * (most / least) ** dice.uniform(0, 1))
        clip = clip_of(dice, still, move, width, height, frames)
        if clip is not None:
            return clip


def clip_of(dice: Dice, still: Still, move: Move, width: int, height: int, frames: int) -> CameraClip | None:
    """None where the still is too small for this move."""
    rows, columns = still.latents.shape[1:]
    # The first view is as fine as the picture; a zoom is so in its middle.
    coarser = WAYS[move.caption][2] * move.amount / 2
    scale = min(COARSEST, math.exp(coarser))
    view = place_view(dice, move, width * scale / columns, height * scale / rows)
    if view is None:
        return None
    boxes = move.boxes(view, frames)
    latents = latent_clip(still.latents, boxes, width, height)
    starts = torch.linspace(0, frames - 2, PAIRS).round().long()
    shown = [seen(still.decoded, boxes[i], 8 * width, 8 * height) for start in starts.tolist() for i in (start, start + 1)]
    score = sum(ssim(shown[2 * i], shown[2 * i + 1]) for i in range(PAIRS)) / PAIRS
    return CameraClip(latents, score, move.caption, move.amount)


def seen(picture: Tensor, box: Tensor, width: int, height: int) -> Tensor:
    """What a box sees of a picture uint8 [3, H, W], in 0..1, [height, width, 3]."""
    left, top, right, bottom = box.tolist()
    x = left + (torch.arange(width) + 0.5) / width * (right - left)
    y = top + (torch.arange(height) + 0.5) / height * (bottom - top)
    grid = torch.stack([x[None].expand(height, -1), y[:, None].expand(-1, width)], dim=-1)[None] * 2 - 1
    rows, columns = picture.shape[1:]
    x0, x1, y0, y1 = (max(0, int(left * columns) - 2), int(right * columns) + 3, max(0, int(top * rows) - 2), int(bottom * rows) + 3)
    part = picture[:, y0:y1, x0:x1].float()[None] / 255
    offset = torch.tensor([(x0 + part.shape[3] / 2) / columns * 2 - 1, (y0 + part.shape[2] / 2) / rows * 2 - 1])
    size = torch.tensor([part.shape[3] / columns, part.shape[2] / rows])
    return F.grid_sample(part, (grid - offset) / size, mode="bilinear", padding_mode="border", align_corners=False)[0].permute(1, 2, 0)
