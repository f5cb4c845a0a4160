"""Sizes of a UNet, read from the shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar

from ...errors import CheckpointError
from ...files.checkpoint import size_of

NORM_GROUPS = 32
C = TypeVar("C", bound="UNetConfig")


@dataclass(frozen=True)
class UNetConfig:
    """The sizes that every family has, named as ComfyUI's SD1.x `unet_config` names them.

    `transformer_depth` has one entry per ResBlock of the encoder, `transformer_depth_output` one per ResBlock of the
    decoder in reversed order of execution, as `comfy.utils.unet_to_diffusers` pops them.
    """

    family: ClassVar[str] = "Stable Diffusion"

    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[float, ...]
    num_res_blocks: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    transformer_depth_middle: int
    transformer_depth_output: tuple[int, ...]
    context_dim: int

    def __post_init__(self) -> None:
        self.check_positive("model_channels", "context_dim")
        for width in self.widths:
            if width % NORM_GROUPS:
                raise CheckpointError(
                    f"A {self.family} UNet level is {width} channels wide, which {NORM_GROUPS} normalisation groups do not divide; "
                    "use a checkpoint whose widths are multiples of that."
                )

    def check_positive(self, *sizes: str) -> None:
        for size in sizes:
            if getattr(self, size) < 1:
                value = getattr(self, size)
                raise CheckpointError(f"The {self.family} UNet has {size} = {value}, expected 1 or more: the file is damaged.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the outermost first."""
        return tuple(round(self.model_channels * m) for m in self.channel_mult)

    def unet_config(self) -> dict[str, Any]:
        """The same as the dict of lists that ComfyUI's LoRA map and model patches read."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_unet_config(cls: type[C], unet_config: Mapping[str, Any]) -> C:
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in unet_config.items()}
        return cls(**sizes)

    @classmethod
    def read_sizes(cls, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """These sizes, by name, from a state dict with LDM names; values need only a `.shape`.

        Raises CheckpointError where a tensor that a size is read from is missing or has another rank.
        """
        what = f"The {cls.family} UNet"
        shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
        model_channels, in_channels, _, _ = size_of(shapes, "input_blocks.0.0.weight", 4, what)
        widths: list[int] = [model_channels]
        num_res_blocks: list[int] = [0]
        transformer_depth: list[int] = []
        attention: list[str] = []
        for i in range(1, count(shapes, r"input_blocks\.(\d+)\.")):
            if f"input_blocks.{i}.0.op.weight" in shapes:
                widths.append(widths[-1])
                num_res_blocks.append(0)
                continue
            widths[-1] = size_of(shapes, f"input_blocks.{i}.0.in_layers.2.weight", 4, what)[0]
            num_res_blocks[-1] += 1
            transformer_depth.append(count(shapes, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\."))
            if transformer_depth[-1]:
                attention.append(f"input_blocks.{i}.1.transformer_blocks.0.")
        transformer_depth_output = [
            count(shapes, rf"output_blocks\.{i}\.1\.transformer_blocks\.(\d+)\.") for i in range(count(shapes, r"output_blocks\.(\d+)\."))
        ]
        if len(transformer_depth_output) != sum(num_res_blocks) + len(widths) or not attention:
            raise CheckpointError(
                f"{what} has {len(transformer_depth_output)} decoder blocks for {sum(num_res_blocks)} encoder blocks on {len(widths)} "
                f"levels and {len(attention)} encoder attentions; expected one decoder block more per level and attention in the encoder: "
                "the file is incomplete or of another model."
            )
        check_depths(what, num_res_blocks, transformer_depth, transformer_depth_output)
        return {
            "in_channels": in_channels,
            "out_channels": size_of(shapes, "out.2.weight", 4, what)[0],
            "model_channels": model_channels,
            "channel_mult": tuple(ratio(w, model_channels) for w in widths),
            "num_res_blocks": tuple(num_res_blocks),
            "transformer_depth": tuple(transformer_depth),
            "transformer_depth_middle": count(shapes, r"middle_block\.1\.transformer_blocks\.(\d+)\."),
            "transformer_depth_output": tuple(reversed(transformer_depth_output)),
            "context_dim": size_of(shapes, attention[0] + "attn2.to_k.weight", 2, what)[1],
        }


def check_depths(what: str, num_res_blocks: list[int], transformer_depth: list[int], transformer_depth_output: list[int]) -> None:
    """Raise CheckpointError unless all transformers of a level are equally deep, in encoder and decoder."""
    encoder, decoder = iter(transformer_depth), iter(transformer_depth_output)
    depths = [{next(encoder) for _ in range(count)} for count in num_res_blocks]
    for number, depth in zip(reversed(num_res_blocks), reversed(depths), strict=True):
        depth |= {next(decoder) for _ in range(number + 1)}
    if any(len(depth) > 1 for depth in depths):
        raise CheckpointError(
            f"{what} has {transformer_depth} attention blocks after its encoder's ResBlocks and {transformer_depth_output} after "
            "its decoder's; expected the same number everywhere on a level: the file is incomplete or of another model."
        )


def count(names: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest index that the pattern captures at the start of a name."""
    match = re.compile(pattern).match
    return max((int(m[1]) for m in map(match, names) if m), default=-1) + 1


def ratio(width: int, model_channels: int) -> float:
    return width // model_channels if width % model_channels == 0 else width / model_channels
