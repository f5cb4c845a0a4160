"""Names of a Cinemo UNet's tensors: the published diffusers layout and LDM names with `attn_temp`, `norm_temp`, `motion_embed` added."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ...errors import CheckpointError
from ..sd_unet import keys
from .positions import rotary_frequencies

ROTARY_SUFFIX = "attn_temp.rotary_emb.freqs"
TABLE = keys.KeyTable(
    {
        **keys.TOP_LEVEL,
        "add_embedding.linear_1.": "motion_embed.0.",
        "add_embedding.linear_2.": "motion_embed.2.",
    }
)
SENSITIVE = (*keys.SENSITIVE, "motion_embed.")


def is_cinemo(names: Iterable[str]) -> bool:
    """Whether these are the names of a Cinemo UNet: temporal attention with relative positions, and a motion embedding."""
    motion = temporal = False
    for name in names:
        motion = motion or name.endswith(("add_embedding.linear_1.weight", "motion_embed.0.weight"))
        temporal = temporal or name.endswith("attn_temp.time_rel_pos_bias.relative_attention_bias.weight")
    return motion and temporal


def normalise(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """LDM names without prefix for a Cinemo UNet in any accepted layout; tensors are passed on as they are.

    A file that holds more than the UNet (a full checkpoint with `model.diffusion_model.`) is narrowed to it. The copies
    of the rotary buffer are checked and dropped. Raises CheckpointError if these are not the names of a Cinemo UNet.
    """
    if not is_cinemo(state_dict):
        raise CheckpointError(
            "The tensors are not those of a Cinemo UNet: it has temporal attention (attn_temp) and a motion embedding (add_embedding); "
            "choose the UNet of a Cinemo checkpoint."
        )
    unet = keys.without_prefix(state_dict)
    for key in [key for key in unet if key.endswith(ROTARY_SUFFIX)]:
        check_rotary(key, unet.pop(key))
    return TABLE.to_ldm(unet)


def check_rotary(key: str, frequencies: Tensor) -> None:
    standard = rotary_frequencies()
    if frequencies.device.type == "meta":
        return
    if frequencies.shape != standard.shape or not (frequencies.float() / standard - 1).abs().max() < 5e-3:  # float16 keeps 3 digits
        raise CheckpointError(f"The rotary frequencies {key} are not the standard ones (10000^(-2k/32)); this pack supports only those.")
