"""The configuration of a Cinemo UNet, read from the shapes of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import CheckpointError
from ...files.checkpoint import shapes_of, size_of
from ..sd_unet.config import UNetConfig


@dataclass(frozen=True)
class CinemoConfig(UNetConfig):
    """Sizes of a Cinemo UNet."""

    family: ClassVar[str] = "Cinemo"

    num_heads: int
    motion_dim: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("num_heads", "motion_dim")
        for width in self.widths:
            if width % self.num_heads:
                raise CheckpointError(
                    f"A Cinemo UNet level is {width} channels wide, which {self.num_heads} attention heads do not divide; "
                    "use a checkpoint whose widths are multiples of that."
                )
            if width // self.num_heads < 32:
                raise CheckpointError(
                    f"A Cinemo attention head is {width // self.num_heads} channels wide ({width} over {self.num_heads} heads), "
                    "but its rotary embedding turns 32; use a checkpoint with wider heads."
                )

    @property
    def head_dims(self) -> set[int]:
        return {width // self.num_heads for width in self.widths}

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> "CinemoConfig":
        """Read the sizes from a state dict with LDM names (see `keys.normalise`); values need only a `.shape`.

        Raises CheckpointError where a tensor that a size is read from is missing or has another rank.
        """
        what, shapes = "The Cinemo UNet", shapes_of(state_dict)
        bias = next((name for name in shapes if name.endswith("attn_temp.time_rel_pos_bias.relative_attention_bias.weight")), "")
        return cls(
            **cls.read_sizes(state_dict),
            num_heads=size_of(shapes, bias, 2, what)[1],
            motion_dim=size_of(shapes, "motion_embed.0.weight", 2, what)[1],
        )
