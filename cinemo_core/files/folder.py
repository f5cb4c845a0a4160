"""Folders in diffusers layout: which parts of a Cinemo checkpoint lie where, and which file of a part holds its weights.

The published folder is `unet/ vae/ vae_temporal_decoder/ text_encoder/ tokenizer/ scheduler/`. `model_index.json` is not
read, nor is `_class_name`: in the published checkpoint both are wrong.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, CinemoError
from .checkpoint import SAFETENSORS, SUFFIXES
from .text import read_text
from .walk import files_in

UNET = "unet"
# File names that diffusers and transformers write, preferred first.
STANDARD_NAMES = tuple(
    f"{stem}{variant}{suffix}"
    for suffix in (".safetensors", ".bin")
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)


@dataclass(frozen=True)
class Bundle:
    """Paths of a checkpoint's parts; a part that the folder does not have is None.

    `unet` is the weights file; `scheduler` is its scheduler_config.json; the others are the folders of their parts.
    """

    folder: Path
    unet: Path
    vae_image: Path | None
    vae_temporal: Path | None
    text_encoder: Path | None
    tokenizer: Path | None
    scheduler: Path | None


def read_bundle(folder: str | os.PathLike) -> Bundle:
    """The parts of a checkpoint folder. Raises CheckpointError unless it holds exactly one UNet."""
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise CheckpointError(
            f"{folder} is not a folder, or cannot be reached; choose the folder that holds unet/, vae/ and text_encoder/."
        )

    def part(name: str) -> Path | None:
        return folder / name if os.path.isdir(folder / name) else None

    if part(UNET) is None:
        raise CheckpointError(
            f"{folder} has no {UNET}/ folder; put the checkpoint there in diffusers layout: "
            f"{UNET}/diffusion_pytorch_model.safetensors (or .bin), vae/ or vae_temporal_decoder/, text_encoder/ and tokenizer/."
        )
    scheduler = folder / "scheduler" / "scheduler_config.json"
    return Bundle(
        folder=folder,
        unet=find_weights(folder / UNET),
        vae_image=part("vae"),
        vae_temporal=part("vae_temporal_decoder"),
        text_encoder=part("text_encoder"),
        tokenizer=part("tokenizer"),
        scheduler=scheduler if os.path.isfile(scheduler) else None,
    )


def find_weights(folder: str | os.PathLike) -> Path:
    """The weights file of one part: the standard name, .safetensors before .bin, else the only weights file there is.

    Raises CheckpointError for a folder without weights, with weights in several shards, or with files to choose from.
    """
    folder = Path(folder)
    files = weights_in(folder)
    standard = next((f for name in STANDARD_NAMES for f in files if f.name == name), None)
    if standard is not None:
        return standard
    if not files:
        unreachable = next((f for f in files_in(folder) if f.suffix.lower() in SUFFIXES), None)
        if unreachable:
            raise CheckpointError(f"{unreachable} is a link that leads nowhere, or cannot be reached; download the file again.")
        raise CheckpointError(
            f"{folder} holds no weights; put diffusion_pytorch_model.safetensors (or .bin) of that part of the checkpoint there."
        )
    if any("-of-" in f.stem for f in files):
        raise CheckpointError(f"{folder} holds its weights in {len(files)} shards; merge them into one file, or download the single file.")
    preferred = [f for f in files if f.suffix.lower() in SAFETENSORS] or files
    if len(preferred) > 1:
        raise CheckpointError(
            f"{folder} holds {len(preferred)} weights files ({', '.join(f.name for f in preferred[:3])}) and none has the standard name "
            "diffusion_pytorch_model.safetensors; keep one, or choose the file itself."
        )
    return preferred[0]


def weights_in(folder: Path) -> list[Path]:
    """Weights files directly in a folder, sorted by name; none if it cannot be listed."""
    return [file for file in files_in(folder) if file.suffix.lower() in SUFFIXES and os.path.isfile(file)]


def read_config(part: Path | None, name: str = "config.json") -> dict[str, Any]:
    """The JSON configuration in the folder of a part; empty if there is none. Raises CheckpointError if it is damaged."""
    path = None if part is None else part / name
    if path is None or not os.path.isfile(path):
        return {}
    try:
        config = json.loads(read_text(path))
    except CinemoError as error:
        raise CheckpointError(str(error)) from None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a JSON object; download it again.")
    return config


def check_options(path: Path, config: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a configuration asks for something else than what is supported; absent options pass."""
    for option, value in supported.items():
        if option in config and config[option] != value:
            raise CheckpointError(
                f"{path} says {option} = {json.dumps(config[option])}, expected {json.dumps(value)}: "
                "another architecture, or a configuration of another checkpoint; restore the file that belongs to the weights."
            )
