"""The configuration of Animate Anyone's networks, read from the shapes of their tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import CheckpointError
from ...files.checkpoint import shapes_of, size_of
from ..sd_unet.config import UNetConfig, count

HEADS = 8  # of every published model, whatever the width; no shape says it
POSITIONS = "input_blocks.1.1.motion.transformer_blocks.0.attention_blocks.0.position_embedding.weight"


@dataclass(frozen=True)
class AnimateAnyoneConfig(UNetConfig):
    """Sizes of the denoising UNet, which are those of ReferenceNet too.

    pose_channels: widths of the Pose Guider, the outermost first. positions: frames that the motion modules have a position for, and so
    the longest window. pose_guiders: two for the face re-enactment set, whose features are summed. num_heads, motion_heads: of
    attention in a frame and over time.
    """

    family: ClassVar[str] = "Animate Anyone"

    pose_channels: tuple[int, ...]
    positions: int
    pose_guiders: int = 1
    num_heads: int = HEADS
    motion_heads: int = HEADS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("pose_guiders")
        depths = {*self.transformer_depth, self.transformer_depth_middle, *self.transformer_depth_output}
        if depths - {0, 1}:
            raise CheckpointError(
                f"The Animate Anyone UNet has up to {max(depths)} transformer blocks after a ResBlock, expected one: another architecture."
            )
        for width in self.widths:
            if width % self.num_heads or width % self.motion_heads:
                raise CheckpointError(
                    f"An Animate Anyone UNet level is {width} channels wide, which {self.num_heads} heads in a frame and "
                    f"{self.motion_heads} over time do not divide; use a checkpoint whose widths are multiples of that."
                )

    @property
    def attending_blocks(self) -> list[tuple[str, int]]:
        """The blocks with self-attention, in the order in which the network runs; there is one transformer block in each."""
        encoder, decoder = iter(self.transformer_depth), reversed(self.transformer_depth_output)
        blocks, index = [], 0
        for level, number in enumerate(self.num_res_blocks):
            index += level > 0  # the Downsample that begins a level, or the first convolution
            for _ in range(number):
                index += 1
                blocks += [("input", index)] * next(encoder)
        blocks += [("middle", 0)] * self.transformer_depth_middle
        return blocks + [("output", place) for place, depth in enumerate(decoder) if depth]

    @property
    def reenactment(self) -> bool:
        """Whether this is the face re-enactment set, in which a prediction without the picture sees the bank of an empty one."""
        return self.pose_guiders > 1

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> "AnimateAnyoneConfig":
        """Read the sizes from a state dict under the names used here (see `keys.normalise`); values need only a `.shape`.

        Raises CheckpointError where a tensor that a size is read from is missing or has another rank.
        """
        what, shapes = "The Animate Anyone checkpoint", shapes_of(state_dict)
        guider = "pose_guiders.0."
        layers = ["conv_in", *(f"blocks.{i}" for i in range(1, count(shapes, r"pose_guiders\.0\.blocks\.(\d+)\."), 2))]
        return cls(
            **cls.read_sizes(state_dict),
            pose_channels=tuple(size_of(shapes, f"{guider}{layer}.weight", 4, what)[0] for layer in layers),
            positions=size_of(shapes, POSITIONS, 3, what)[1],
            pose_guiders=count(shapes, r"pose_guiders\.(\d+)\."),
        )
