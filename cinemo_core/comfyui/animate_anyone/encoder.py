"""Whether an image encoder is what ReferenceNet was trained with, before it runs.

ComfyUI loads a file without the visual projection, only logs that, and leaves the layer's memory as it was: zeros, or what was there
before. The object says nothing about it. So the file is asked, where it is known, and else the layer's numbers.
"""

from pathlib import Path
from typing import Any

import folder_paths
import torch

from ...errors import CheckpointError, InputError
from ...files.checkpoint import read_names

LOADER = "CLIPVisionLoader"  # ComfyUI's, and the name of its file there
FILE = "clip_name"
PROJECTIONS = {"visual_projection.weight", "visual.proj"}  # the names under which that loader knows the layer
# Root mean squares of a row; training starts at sqrt(1 / inputs), 0.03, and these bounds are hundreds of times off that.
SMALLEST_ROW, LARGEST_ROW = 1e-4, 1e2
NO_PROJECTION = (
    "The file {}of the image encoder has no visual projection; load CLIP ViT-L/14 with it, such as that of sd-image-variations, with Load "
    "CLIP Vision."
)


def check_encoder_file(hidden: Any, name: str = "clip_vision") -> None:
    """Raise InputError if the encoder that is linked to this input comes from Load CLIP Vision and a file without the projection.

    hidden: the node's, with unique_id and dynprompt; None where a program calls it without a graph.
    """
    path = encoder_file(hidden, name)
    if path is None:
        return
    try:
        names = read_names(path)
    except CheckpointError:  # ComfyUI reads it, so it goes by its numbers
        return
    if not PROJECTIONS & set(names):
        raise InputError(NO_PROJECTION.format(f"{path.name} "))


def encoder_file(hidden: Any, name: str) -> Path | None:
    """The file of the Load CLIP Vision node that is linked to this input; None for another node."""
    if hidden is None or hidden.dynprompt is None:
        return None
    link = hidden.dynprompt.get_node(hidden.unique_id)["inputs"].get(name)
    source = hidden.dynprompt.get_node(link[0]) if isinstance(link, list) else {}
    file = source.get("inputs", {}).get(FILE)
    if source.get("class_type") != LOADER or not isinstance(file, str):
        return None
    path = folder_paths.get_full_path("clip_vision", file)
    return None if path is None else Path(path)


def check_encoder(clip_vision, width: int) -> None:
    """Raise InputError, before it runs, for an image encoder of another width or without the projection.

    Where it shows in the encoder's own numbers: left-over weights of another network pass here, and stop at `check_encoder_file`.
    """
    if clip_vision is None:
        raise InputError("There is no image encoder; load CLIP ViT-L/14 with Load CLIP Vision.")
    projection = getattr(clip_vision.model, "visual_projection", None)
    if not isinstance(projection, torch.nn.Linear) or not is_trained(projection):
        raise InputError(NO_PROJECTION.format(""))
    if projection.out_features != width:
        raise InputError(
            f"The image encoder gives an embedding of {projection.out_features} channels, this Animate Anyone model reads {width}; load "
            "CLIP ViT-L/14 (that of sd-image-variations) with Load CLIP Vision."
        )


def is_trained(layer: torch.nn.Linear) -> bool:
    """Whether each row of its matrix is of a size that training gives, and no memory that nothing was written to."""
    if layer.weight.shape != (layer.out_features, layer.in_features):  # with dynamic VRAM, ComfyUI's zeros have the two sides swapped
        return False
    sizes = layer.weight.detach().float().square().mean(dim=1).sqrt()
    return bool(((sizes >= SMALLEST_ROW) & (sizes <= LARGEST_ROW)).all())  # false for NaN
