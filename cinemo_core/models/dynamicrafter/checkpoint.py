"""What a DynamiCrafter checkpoint holds next to its network, from the names of its tensors alone.

The official file is a whole training state: UNet, image projector, VAE, the text and the image tower of OpenCLIP's ViT-H-14, and
buffers of the schedule. Files that others made from it lack some of these parts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import CheckpointError
from .keys import DEEPSPEED
from .variants import SCALES, TOON

VAE = "first_stage_model."
TEXT = "cond_stage_model.model."
IMAGE = "embedder.model.visual."
MASK = "attn_mask"  # a buffer that older versions of open_clip saved

TEXT_HEAD, IMAGE_HEAD = 64, 80  # channels of a head of ViT-H-14


@dataclass(frozen=True)
class Parts:
    """The tensors of each part that ComfyUI has a network for, without the prefix that they have in the file; empty where it lacks one."""

    vae: dict[str, Any]
    text: dict[str, Any]
    image: dict[str, Any]


def split(state_dict: Mapping[str, Any]) -> Parts:
    """The parts of a checkpoint; tensors are passed on as they are."""
    plain = {DEEPSPEED.sub("", name): tensor for name, tensor in state_dict.items()}

    def part(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): t for name, t in plain.items() if name.startswith(prefix) and not name.endswith(MASK)}

    return Parts(part(VAE), part(TEXT), part(IMAGE))


def other_parts(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds besides its network and is of use: the other parts, and the scales that say which variant it is."""
    plain = {DEEPSPEED.sub("", name): tensor for name, tensor in checkpoint.items()}
    parts = {name: t for name, t in plain.items() if name.startswith((VAE, TEXT, IMAGE)) and not name.endswith(MASK)}
    scales = next((tensor for name, tensor in plain.items() if name.rpartition(".")[2] == SCALES), None)
    return parts if scales is None else parts | {SCALES: scales}


def is_tooncrafter(names: Iterable[str]) -> bool:
    """Whether a checkpoint, or a VAE, is ToonCrafter's: the same network, another VAE."""
    return any(TOON in name for name in names)


def check_widths(text: int | None, image: int | None, config: Any, what: str) -> None:
    """Raise CheckpointError where a tower of a checkpoint has another width than its network reads; None for one that it lacks."""
    read_text, read_image = config.context_dim, config.projector.image_dim
    for found, expected, name in ((text, read_text, "text tower"), (image, read_image, "image tower")):
        if found not in (None, expected):
            raise CheckpointError(
                f"The {name} in {what} is {found} channels wide, but its network reads {expected}: parts of different models were put "
                "together; use a checkpoint as it was published."
            )
