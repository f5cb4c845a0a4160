"""A published Animate Anyone set of small width: four files under the names that they have, their weights drawn by a rule; see `drawn`."""

import re
from dataclasses import replace
from functools import cache

from torch import Tensor

from ..cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from ..cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from ..cinemo_core.models.animate_anyone.keys import REFERENCE, TABLE, TABLE_FILE, TABLE_HERE
from ..cinemo_core.models.animate_anyone.positions import position_table
from ..cinemo_core.models.sd_unet.keys import diffusers_blocks
from .drawn import draw

UNET = AnimateAnyoneConfig(
    in_channels=4,
    out_channels=4,
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 0, 0),
    context_dim=24,
    pose_channels=(4, 8, 12, 16),
    positions=32,
)
WIDE = replace(UNET, context_dim=768)  # reads the embedding of CLIP ViT-L/14, which ComfyUI's own loader gives
GUIDER = "pose_guiders.0."
PLACE = re.compile(r"(.+)\.(?:resnets|attentions)\.(\d+)\.$")


@cache
def published_set(config: AnimateAnyoneConfig = UNET) -> dict[str, dict[str, Tensor]]:
    """Tensors in half precision, by the name of their file without its suffix."""
    shapes = ANIMATE_ANYONE.shapes(config)
    tables = {name for name in shapes if name.endswith(TABLE_HERE)}
    tensors = {name: position_table(*shape[1:]) if name in tables else draw(name, shape) for name, shape in shapes.items()}
    reference = {name.removeprefix(REFERENCE): t for name, t in tensors.items() if name.startswith(REFERENCE)}
    guider = {name.removeprefix(GUIDER): t for name, t in tensors.items() if name.startswith(GUIDER)}
    motion = {motion_name(name, config): t for name, t in tensors.items() if ".motion." in name}
    unet = {name: t for name, t in tensors.items() if not name.startswith((REFERENCE, GUIDER)) and ".motion." not in name}
    return {
        "denoising_unet": diffusers(unet, config),
        "motion_module": motion,
        "reference_unet": diffusers(reference, config),
        "pose_guider": guider,
    }


def diffusers(tensors: dict[str, Tensor], config: AnimateAnyoneConfig) -> dict[str, Tensor]:
    names = TABLE.to_diffusers(tensors, config)
    return {names[name]: tensor for name, tensor in tensors.items()}


def motion_name(name: str, config: AnimateAnyoneConfig) -> str:
    """Of a tensor of the motion module that follows a layer; that of the middle block follows its only transformer."""
    layer, tail = name.split("motion.", 1)
    place = next(theirs for theirs, here in TABLE.modules(diffusers_blocks(config)).items() if here == layer)
    found = PLACE.match(place)
    assert found
    return f"{found[1]}.motion_modules.{found[2]}.temporal_transformer.{tail.replace(TABLE_HERE, TABLE_FILE)}"
