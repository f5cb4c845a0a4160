"""Names of Animate Anyone's tensors: those of the published files, and those used here, in which both UNets have SD1.5's names.

The published set is several files whose names clash: their tensors are joined under the name of the file (`denoising_unet.`,
`motion_module.`, `reference_unet.`, `pose_guider.`). A motion module is part here of the layer that it follows (`.motion.`), so that a
LoRA for SD1.5 finds its layers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import CheckpointError
from ..sd_unet import keys
from .positions import position_table

TABLE = keys.KeyTable(keys.TOP_LEVEL)
REFERENCE = "reference_net."
SENSITIVE = (*keys.SENSITIVE, "pose_guiders.", f"{REFERENCE}time_embed.", f"{REFERENCE}input_blocks.0.0.")

DENOISER, MOTION, REFERENCE_FILE = "denoising_unet.", "motion_module.", "reference_unet."
POSE_GUIDERS = {"pose_guider.": "pose_guiders.0.", "pose_guider1.": "pose_guiders.0.", "pose_guider2.": "pose_guiders.1."}
MOTION_MARK = "motion.transformer_blocks.0.attention_blocks.0.to_q.weight"
PUBLISHED_MARK = "temporal_transformer.transformer_blocks.0.attention_blocks.0.to_q.weight"
MODULE = re.compile(r"^((?:down|up)_blocks\.\d+|mid_block)\.motion_modules\.(\d+)\.temporal_transformer\.")
TABLE_FILE, TABLE_HERE = "pos_encoder.pe", "position_embedding.weight"
HEAD = ("conv_norm_out.", "conv_out.")
DEFAULT_POSITIONS = 32


def is_animate_anyone(names: Iterable[str]) -> bool:
    """Whether these are the names of this family: a motion module within a layer, or the joined files of a published set."""
    denoiser = motion = own = False
    for name in names:
        denoiser = denoiser or name == f"{DENOISER}conv_in.weight"
        motion = motion or name.endswith(PUBLISHED_MARK)
        own = own or name.endswith(MOTION_MARK)
    return own or (denoiser and motion)


def normalise(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of all networks under the names used here, from any accepted layout; they are passed on as they are.

    Raises CheckpointError if these are not the names of an Animate Anyone checkpoint.
    """
    if not is_animate_anyone(state_dict):
        raise CheckpointError(
            "The tensors are not those of an Animate Anyone checkpoint: it has motion modules in its UNet; choose the folder of a "
            "published set, or a file that holds all of its networks."
        )
    if f"{DENOISER}conv_in.weight" not in state_dict:
        return keys.without_prefix(state_dict)
    denoiser = part(state_dict, DENOISER)
    denoiser |= part(state_dict, MOTION)
    places = {name for name in denoiser if "attentions." in name}
    unet = {module_name(name, places): tensor for name, tensor in denoiser.items()}
    reference = {name: tensor for name, tensor in part(state_dict, REFERENCE_FILE).items() if not name.startswith(HEAD)}
    out = with_tables(TABLE.to_ldm(unet))
    out |= {REFERENCE + name: tensor for name, tensor in TABLE.to_ldm(reference).items()}
    for file, here in POSE_GUIDERS.items():
        out |= {here + name: tensor for name, tensor in part(state_dict, file).items()}
    return out


def part(state_dict: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}


def module_name(name: str, places: set[str]) -> str:
    """A motion module's tensor as one of the layer before it, in the diffusers layout; other names stay as they are."""
    found = MODULE.match(name)
    if not found:
        return name
    block, index = found.groups()
    attention = f"{block}.attentions.{index}."
    layer = attention if any(place.startswith(attention) for place in places) else f"{block}.resnets.{index}."
    return f"{layer}motion.{name[found.end() :]}".replace(TABLE_FILE, TABLE_HERE)


def with_tables(unet: dict[str, Any]) -> dict[str, Any]:
    """With the tables of positions, which a file may leave out because they are computed."""
    out = dict(unet)
    for name, tensor in unet.items():
        if name.endswith(".to_q.weight") and ".attention_blocks." in name:
            table = name.removesuffix("to_q.weight") + TABLE_HERE
            if table not in out:
                out[table] = position_table(DEFAULT_POSITIONS, tensor.shape[1]).to(tensor)
    return out
