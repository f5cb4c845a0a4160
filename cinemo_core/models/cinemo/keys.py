"""Names of a Cinemo UNet's tensors: the published diffusers layout and the LDM layout that ComfyUI knows.

The LDM names are SD1.x's, with `attn_temp`, `norm_temp` and `motion_embed` added. Renaming never copies a tensor.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ...errors import CheckpointError
from .config import CinemoConfig
from .embeddings import rotary_frequencies

LDM_PREFIX = "model.diffusion_model."
ROTARY_SUFFIX = "attn_temp.rotary_emb.freqs"

# diffusers -> LDM
TOP_LEVEL = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "motion_embed.0.",
    "add_embedding.linear_2.": "motion_embed.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}


def is_cinemo(keys: Iterable[str]) -> bool:
    """Whether these are the names of a Cinemo UNet: temporal attention with relative positions, and a motion embedding."""
    motion = temporal = False
    for key in keys:
        motion = motion or key.endswith(("add_embedding.linear_1.weight", "motion_embed.0.weight"))
        temporal = temporal or key.endswith("attn_temp.time_rel_pos_bias.relative_attention_bias.weight")
    return motion and temporal


def module_names(keys: Iterable[str]) -> dict[str, str]:
    """Module prefixes of the diffusers layout and their LDM names, for the blocks that these keys hold."""
    blocks = {
        m[0] for m in map(re.compile(r"(?:down|up)_blocks\.\d+\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+\.").match, keys) if m
    }
    names = dict(TOP_LEVEL)
    for side, stem in (("down", "input_blocks"), ("up", "output_blocks")):
        level, index = 0, 1 if side == "down" else 0
        while f"{side}_blocks.{level}.resnets.0." in blocks:
            block = f"{side}_blocks.{level}."
            layer = 0
            while f"{block}resnets.{layer}." in blocks:
                names[f"{block}resnets.{layer}."] = f"{stem}.{index}.0."
                names[f"{block}attentions.{layer}."] = f"{stem}.{index}.1."
                layer, index = layer + 1, index + 1
            if side == "down":
                names[f"{block}downsamplers.0.conv."] = f"{stem}.{index}.0.op."
                index += f"{block}downsamplers.0." in blocks
            else:  # the upsampler closes the last block of its level, behind the attention if there is one
                place = 2 if f"{block}attentions.0." in blocks else 1
                names[f"{block}upsamplers.0.conv."] = f"{stem}.{index - 1}.{place}.conv."
            level += 1
    return names


def diffusers_to_ldm(key: str, names: Mapping[str, str]) -> str:
    """The LDM name of one key; a key that no rule covers keeps its name and so shows up as unexpected."""
    for prefix, renamed in names.items():
        if key.startswith(prefix):
            tail = key[len(prefix) :]
            if ".resnets." in prefix:
                for part, renamed_part in RESNET.items():
                    if tail.startswith(part):
                        return renamed + renamed_part + tail[len(part) :]
            return renamed + tail
    return key


def diffusers_names(ldm_keys: Iterable[str], config: CinemoConfig) -> dict[str, str]:
    """LDM name -> diffusers name for every key, to write the published layout."""
    skeleton = []
    for side, layers in (("down", config.num_res_blocks), ("up", [n + 1 for n in reversed(config.num_res_blocks)])):
        depths = list(config.transformer_depth if side == "down" else reversed(config.transformer_depth_output))
        for level, count in enumerate(layers):
            block = f"{side}_blocks.{level}."
            for layer in range(count):
                skeleton.append(f"{block}resnets.{layer}.")
                if depths.pop(0):
                    skeleton.append(f"{block}attentions.{layer}.")
            if level < len(layers) - 1:
                skeleton.append(f"{block}{side}samplers.0.")
    # the longest LDM prefix first, so that an upsampler at place 1 is not taken for an attention
    names = sorted(module_names(skeleton).items(), key=lambda item: -len(item[1]))
    wanted = {s + ("conv." if "samplers" in s else "") for s in skeleton} | set(TOP_LEVEL)
    out = {}
    for key in ldm_keys:
        prefix, renamed = next((d, r) for d, r in names if d in wanted and key.startswith(r))
        tail = key[len(renamed) :]
        if ".resnets." in prefix:
            tail = next(part + tail[len(r) :] for part, r in RESNET.items() if tail.startswith(r))
        out[key] = prefix + tail
    return out


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
    if any(k.startswith(LDM_PREFIX) for k in state_dict):
        state_dict = {k[len(LDM_PREFIX) :]: v for k, v in state_dict.items() if k.startswith(LDM_PREFIX)}
    names = module_names(state_dict) if any(k.startswith("down_blocks.") for k in state_dict) else {}
    out = {}
    for key, tensor in state_dict.items():
        if key.endswith(ROTARY_SUFFIX):
            _check_rotary(key, tensor)
        else:
            out[diffusers_to_ldm(key, names)] = tensor
    return out


def _check_rotary(key: str, frequencies: Tensor) -> None:
    standard = rotary_frequencies()
    if frequencies.device.type == "meta":
        return
    if frequencies.shape != standard.shape or not (frequencies.float() / standard - 1).abs().max() < 5e-3:  # float16 keeps 3 digits
        raise CheckpointError(f"The rotary frequencies {key} are not the standard ones (10000^(-2k/32)); this pack supports only those.")
