"""Latents of the procedural scenes whose caption names no camera, kept in a file: what moves while the camera stands still.

They go along with the camera moves over stills, so that a network that learns those does not forget things, clouds and water.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..frozen import encode, load_vae
from ..group_norm import use_fast_norms
from ..prepare import decoded_ssim
from .camera_clips import FRAMES, LATENT
from .photographs import collect_photographs
from .procedural.clip import render_clip
from .procedural.textures import read_photographs

SEED = 1 << 20  # of the first scene: far behind those that the shipped nano saw


class SceneClip(NamedTuple):
    """latents: scaled, [f, 4, side, side]; ssim: mean of consecutive frames as they decode."""

    latents: Tensor
    ssim: float
    caption: str


def encode_missing_scenes(vae_folder: Path, path: Path, sides: Sequence[int], count: int) -> None:
    """Write `count` clips at each size (a side, in latents), unless the file is there; it appears when it is whole."""
    if path.is_file():
        return
    photographs = path.parent / "photographs"
    collect_photographs(photographs)
    pictures = read_photographs(photographs)
    vae = load_vae(vae_folder)
    use_fast_norms(vae)
    vae = vae.to(memory_format=torch.channels_last)
    rows = [row for side in sides for row in encoded_scenes(vae, side, count, pictures)]
    partial = path.with_name(f".{path.name}.part")
    torch.save(rows, partial)
    partial.replace(path)


def encoded_scenes(vae: Any, side: int, count: int, photographs: Sequence[Tensor]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seed = SEED * side
    while len(rows) < count:
        frames, caption = render_clip(seed, LATENT * side, LATENT * side, FRAMES, photographs)
        seed += 1
        if "camera" in caption:
            continue
        with torch.autocast("cpu", torch.bfloat16):
            latents = encode(vae, frames)
        rows.append({"latents": latents.half(), "ssim": decoded_ssim(vae, latents), "caption": caption})
    return rows


def read_scenes(path: Path) -> list[SceneClip]:
    return [SceneClip(row["latents"].float(), row["ssim"], row["caption"]) for row in torch.load(path, weights_only=True)]
