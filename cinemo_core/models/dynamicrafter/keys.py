"""Names of a DynamiCrafter UNet's tensors: the official ones, and those used here, in which the spatial part has SD2.1's names.

In the official code a temporal transformer follows every spatial one in a block's list and so moves what follows by one: the second
ResBlock of the middle, the upsamplers. Here it is part of the spatial one (`.1.temporal.`), and a LoRA for SD2.1 finds its layers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import CheckpointError
from ..sd_unet import keys
from .config import PROJECTOR
from .variants import SCALES

FIRST_ATTENTION = "init_attn.0.proj_in.weight"
IMAGE_KEYS = "attn2.to_k_ip.weight"
SENSITIVE = (*keys.SENSITIVE, "fps_embedding.", PROJECTOR)  # the projector is small, and runs once for a clip
DEEPSPEED = re.compile(r"^(?:module\.|_forward_module\.)+")
# Official -> here, in this order.
OFFICIAL = (
    (re.compile(r"^framestride_embed\."), "fps_embedding."),  # the published 256 model's word
    (re.compile(r"^middle_block\.2\."), "middle_block.1.temporal."),
    (re.compile(r"^middle_block\.3\."), "middle_block.2."),
    (re.compile(r"^(input_blocks|output_blocks)\.(\d+)\.2\.(?!conv\.)"), r"\1.\2.1.temporal."),
    (re.compile(r"^output_blocks\.(\d+)\.3\.conv\."), r"output_blocks.\1.2.conv."),
)
# Official names of tensors that belong to no layer; here each is the weight of a module of its own.
LEARNED = re.compile(r"(?:^image_proj_model\.latents|\.attn2\.alpha)$")


def is_dynamicrafter(names: Iterable[str]) -> bool:
    """Whether these are the names of a DynamiCrafter UNet: attention after the first convolution, and keys for image tokens."""
    first = image = False
    for name in names:
        first = first or name.endswith(FIRST_ATTENTION)
        image = image or name.endswith(IMAGE_KEYS)
    return first and image


def own_name(name: str) -> str:
    """The name used here of an official one, without prefix."""
    for pattern, replacement in OFFICIAL:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


def normalise(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of UNet and projector under the names used here, from any accepted layout; they are passed on as they are.

    Raises CheckpointError if these are not the names of a DynamiCrafter UNet.
    """
    if not is_dynamicrafter(state_dict):
        raise CheckpointError(
            "The tensors are not those of a DynamiCrafter UNet: it has attention after its first convolution (init_attn) and keys for "
            "image tokens (to_k_ip); choose a DynamiCrafter checkpoint."
        )
    plain = {DEEPSPEED.sub("", name): tensor for name, tensor in state_dict.items()}
    unet = {name: tensor for name, tensor in keys.without_prefix(plain).items() if name != SCALES}
    projector = {name: tensor for name, tensor in plain.items() if name.startswith(PROJECTOR)}
    if not any(".temporal." in name for name in unet):
        unet = {own_name(name): tensor for name, tensor in unet.items()}
    return {LEARNED.sub(r"\g<0>.weight", name): tensor for name, tensor in (unet | projector).items()}
