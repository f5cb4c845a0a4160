"""The configuration of a Cinemo UNet, read from the shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import CheckpointError

NORM_GROUPS = 32


@dataclass(frozen=True)
class CinemoConfig:
    """Sizes of a Cinemo UNet, named as ComfyUI's SD1.x `unet_config` names them.

    `transformer_depth` has one entry per ResBlock of the encoder, `transformer_depth_output` one per ResBlock of the
    decoder in reversed order of execution, as `comfy.utils.unet_to_diffusers` pops them.
    """

    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[float, ...]
    num_res_blocks: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    transformer_depth_middle: int
    transformer_depth_output: tuple[int, ...]
    context_dim: int
    num_heads: int
    motion_dim: int

    def __post_init__(self) -> None:
        for size in ("model_channels", "context_dim", "num_heads", "motion_dim"):
            if getattr(self, size) < 1:
                raise CheckpointError(f"The Cinemo UNet has {size} = {getattr(self, size)}, expected 1 or more: the file is damaged.")
        for width in self.widths:
            if width % NORM_GROUPS or width % self.num_heads:
                raise CheckpointError(
                    f"A Cinemo UNet level is {width} channels wide, which {NORM_GROUPS} normalisation groups and "
                    f"{self.num_heads} attention "
                    "heads do not divide; use a checkpoint whose widths are multiples of both."
                )
            if width // self.num_heads < 32:
                raise CheckpointError(
                    f"A Cinemo attention head is {width // self.num_heads} channels wide ({width} over {self.num_heads} "
                    "heads), but its rotary "
                    "embedding turns 32; use a checkpoint with wider heads."
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the outermost first."""
        return tuple(round(self.model_channels * m) for m in self.channel_mult)

    def unet_config(self) -> dict[str, Any]:
        """The same as the dict of lists that ComfyUI's LoRA map and model patches read."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_unet_config(cls, unet_config: Mapping[str, Any]) -> "CinemoConfig":
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in unet_config.items()}
        return cls(**arguments)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> "CinemoConfig":
        """Read the sizes from a state dict with LDM names (see `keys.normalise`); values need only a `.shape`.

        Raises CheckpointError where a tensor that a size is read from is missing or has another rank.
        """

        def shape(key: str, rank: int) -> tuple[int, ...]:
            if key not in state_dict:
                raise CheckpointError(
                    f"The Cinemo UNet lacks the tensor {key}; the file is incomplete or of another model: download it again."
                )
            found = tuple(state_dict[key].shape)
            if len(found) != rank or not all(found):
                raise CheckpointError(
                    f"The tensor {key} of the Cinemo UNet has shape {found}, expected {rank} dimensions: another architecture."
                )
            return found

        model_channels, in_channels, _, _ = shape("input_blocks.0.0.weight", 4)
        widths: list[int] = [model_channels]
        num_res_blocks: list[int] = [0]
        transformer_depth: list[int] = []
        attention: list[str] = []
        for i in range(1, _count(state_dict, r"input_blocks\.(\d+)\.")):
            if f"input_blocks.{i}.0.op.weight" in state_dict:
                widths.append(widths[-1])
                num_res_blocks.append(0)
                continue
            widths[-1] = shape(f"input_blocks.{i}.0.in_layers.2.weight", 4)[0]
            num_res_blocks[-1] += 1
            transformer_depth.append(_count(state_dict, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\."))
            if transformer_depth[-1]:
                attention.append(f"input_blocks.{i}.1.")
        transformer_depth_output = [
            _count(state_dict, rf"output_blocks\.{i}\.1\.transformer_blocks\.(\d+)\.")
            for i in range(_count(state_dict, r"output_blocks\.(\d+)\."))
        ]
        if len(transformer_depth_output) != sum(num_res_blocks) + len(widths) or not attention:
            raise CheckpointError(
                f"The Cinemo UNet has {len(transformer_depth_output)} decoder blocks for {sum(num_res_blocks)} encoder "
                f"blocks on {len(widths)} "
                f"levels and {len(attention)} encoder attentions; expected one decoder block more per level and attention in the encoder: "
                "the file is incomplete or of another model."
            )
        encoder, decoder = iter(transformer_depth), iter(transformer_depth_output)
        depths = [{next(encoder) for _ in range(count)} for count in num_res_blocks]
        for count, depth in zip(reversed(num_res_blocks), reversed(depths), strict=True):
            depth |= {next(decoder) for _ in range(count + 1)}
        if any(len(depth) > 1 for depth in depths):
            raise CheckpointError(
                f"The Cinemo UNet has {transformer_depth} attention blocks behind its encoder's ResBlocks and "
                f"{transformer_depth_output} behind "
                "its decoder's; expected the same number everywhere on a level: the file is incomplete or of another model."
            )
        block = attention[0] + "transformer_blocks.0."
        shape(attention[0] + "proj_in.weight", 4)
        return cls(
            in_channels=in_channels,
            out_channels=shape("out.2.weight", 4)[0],
            model_channels=model_channels,
            channel_mult=tuple(_ratio(w, model_channels) for w in widths),
            num_res_blocks=tuple(num_res_blocks),
            transformer_depth=tuple(transformer_depth),
            transformer_depth_middle=_count(state_dict, r"middle_block\.1\.transformer_blocks\.(\d+)\."),
            transformer_depth_output=tuple(reversed(transformer_depth_output)),
            context_dim=shape(block + "attn2.to_k.weight", 2)[1],
            num_heads=shape(block + "attn_temp.time_rel_pos_bias.relative_attention_bias.weight", 2)[1],
            motion_dim=shape("motion_embed.0.weight", 2)[1],
        )


def _count(state_dict: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest index that the pattern captures at the start of a key."""
    match = re.compile(pattern).match
    return max((int(m[1]) for m in map(match, state_dict) if m), default=-1) + 1


def _ratio(width: int, model_channels: int) -> float:
    return width // model_channels if width % model_channels == 0 else width / model_channels
