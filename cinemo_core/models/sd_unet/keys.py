"""Names of a UNet's tensors: the diffusers layout and the LDM layout that ComfyUI knows. Renaming never copies a tensor."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .config import UNetConfig

T = TypeVar("T")
LDM_PREFIX = "model.diffusion_model."

# Besides norms, biases and tables: what an 8-bit format ruins (the time embedding, the first and last convolution).
SENSITIVE = ("time_embed.", "input_blocks.0.0.", "out.")

# diffusers -> LDM
TOP_LEVEL = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
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
BLOCK = re.compile(r"(?:down|up)_blocks\.\d+\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+\.")


@dataclass(frozen=True)
class KeyTable:
    """The modules outside the encoder and decoder, whose names a family may add to; the others follow from the blocks."""

    top_level: Mapping[str, str]

    def modules(self, keys: Iterable[str]) -> dict[str, str]:
        """Module prefixes of the diffusers layout and their LDM names, for the blocks that these keys hold."""
        return {**self.top_level, **block_modules({m[0] for m in map(BLOCK.match, keys) if m})}

    def to_ldm(self, state_dict: Mapping[str, T]) -> dict[str, T]:
        """The same values under LDM names; a state dict that has them already keeps them."""
        if not any(key.startswith("down_blocks.") for key in state_dict):
            return dict(state_dict)
        modules = self.modules(state_dict)
        return {ldm_name(key, modules): value for key, value in state_dict.items()}

    def to_diffusers(self, ldm_keys: Iterable[str], config: UNetConfig) -> dict[str, str]:
        """LDM name -> diffusers name for every key."""
        blocks = diffusers_blocks(config)
        wanted = {block + ("conv." if "samplers" in block else "") for block in blocks} | set(self.top_level)
        # the longest LDM prefix first, so that an upsampler at place 1 is not taken for an attention
        modules = sorted(self.modules(blocks).items(), key=lambda item: -len(item[1]))
        names = {}
        for key in ldm_keys:
            prefix, renamed = next((d, r) for d, r in modules if d in wanted and key.startswith(r))
            tail = key[len(renamed) :]
            if ".resnets." in prefix:
                tail = next(part + tail[len(r) :] for part, r in RESNET.items() if tail.startswith(r))
            names[key] = prefix + tail
        return names


def block_modules(blocks: set[str]) -> dict[str, str]:
    """Diffusers prefix -> LDM prefix for every module in the encoder and decoder."""
    names = {}
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
            else:  # the upsampler closes the last block of its level, after the attention if there is one
                place = 2 if f"{block}attentions.0." in blocks else 1
                names[f"{block}upsamplers.0.conv."] = f"{stem}.{index - 1}.{place}.conv."
            level += 1
    return names


def diffusers_blocks(config: UNetConfig) -> list[str]:
    """The modules of encoder and decoder in the diffusers layout of these sizes."""
    blocks = []
    for side, layers in (("down", config.num_res_blocks), ("up", [n + 1 for n in reversed(config.num_res_blocks)])):
        depths = list(config.transformer_depth if side == "down" else reversed(config.transformer_depth_output))
        for level, count in enumerate(layers):
            block = f"{side}_blocks.{level}."
            for layer in range(count):
                blocks.append(f"{block}resnets.{layer}.")
                if depths.pop(0):
                    blocks.append(f"{block}attentions.{layer}.")
            if level < len(layers) - 1:
                blocks.append(f"{block}{side}samplers.0.")
    return blocks


def ldm_name(key: str, modules: Mapping[str, str]) -> str:
    """The LDM name of one diffusers key; a key that no rule covers keeps its name and so shows up as unexpected."""
    for prefix, renamed in modules.items():
        if key.startswith(prefix):
            tail = key[len(prefix) :]
            if ".resnets." in prefix:
                for part, renamed_part in RESNET.items():
                    if tail.startswith(part):
                        return renamed + renamed_part + tail[len(part) :]
            return renamed + tail
    return key


def without_prefix(state_dict: Mapping[str, T]) -> dict[str, T]:
    """The UNet of a whole checkpoint, or the state dict as it is."""
    unet = {key.removeprefix(LDM_PREFIX): value for key, value in state_dict.items() if key.startswith(LDM_PREFIX)}
    return unet or dict(state_dict)
