"""The configuration of a DynamiCrafter UNet, read from the shapes of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...errors import CheckpointError, InputError
from ...files.checkpoint import shapes_of, size_of
from ..sd_unet.config import UNetConfig
from .resampler import FRAMES, ResamplerConfig
from .variants import MEDIUM, SMALL, VARIANTS, variant_of

FIRST_ATTENTION_HEADS = 8  # of the temporal transformer after the first convolution, whatever its width
PROJECTOR = "image_proj_model."
RELATIVE_POSITIONS = ".relative_position_"  # tensors of an option that no published model has


@dataclass(frozen=True)
class DynamiCrafterConfig(UNetConfig):
    """Sizes of a DynamiCrafter network, and which of the published variants it is.

    gated: each layer weighs its image tokens by a scalar of its own (the 256 model). projector: that of the network that makes
    these tokens, None for a UNet alone. variant: a name of `VARIANTS`.
    """

    family: ClassVar[str] = "DynamiCrafter"

    num_head_channels: int
    gated: bool
    projector: ResamplerConfig | None = None
    variant: str = MEDIUM.name

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("num_head_channels")
        self.check_variant()
        for width in self.widths:
            if width % self.num_head_channels:
                raise CheckpointError(
                    f"A DynamiCrafter UNet level is {width} channels wide, which heads of {self.num_head_channels} channels do not divide; "
                    "use a checkpoint whose widths are multiples of that."
                )
        if self.projector and self.projector.queries % FRAMES:
            raise CheckpointError(
                f"The image projector makes {self.projector.queries} tokens, expected as many for each of {FRAMES} frames: "
                "the file is of another model."
            )
        if self.in_channels != 2 * self.out_channels:
            raise CheckpointError(
                f"The DynamiCrafter UNet reads {self.in_channels} channels and gives {self.out_channels}, expected twice as many in, "
                "noise and image: another architecture."
            )

    def check_variant(self) -> None:
        if self.variant not in VARIANTS:
            raise InputError(f"There is no DynamiCrafter variant {self.variant!r}; choose one of {', '.join(VARIANTS)}.")
        if self.gated != (self.variant == SMALL.name):
            found = "has the gates that the 256 model alone has" if self.gated else "lacks the gates of the 256 model"
            fitting = [name for name in VARIANTS if self.gated == (name == SMALL.name)]
            raise InputError(f"The variant is set to {self.variant}, but the DynamiCrafter UNet {found}; choose {' or '.join(fitting)}.")

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> "DynamiCrafterConfig":
        """Read the sizes from a state dict with LDM names (see `keys.normalise`); values need only a `.shape`.

        A UNet without gates is taken for the 512 model; see `complete`. Raises CheckpointError where a tensor that a size is read
        from is missing or has another rank, and for an option of the official code that no published model has.
        """
        what, shapes = "The DynamiCrafter UNet", shapes_of(state_dict)
        if found := next((name for name in shapes if RELATIVE_POSITIONS in name), None):
            raise CheckpointError(
                f"{what} was trained with use_relative_position (it has {found}), which no published model was: use one of those."
            )
        projector = {name.removeprefix(PROJECTOR): t for name, t in state_dict.items() if name.startswith(PROJECTOR)}
        inner = size_of(shapes, "init_attn.0.proj_in.weight", 3, what)[0]
        gated = any(name.endswith("attn2.alpha.weight") for name in shapes)
        return cls(
            **cls.read_sizes(state_dict),
            num_head_channels=inner // FIRST_ATTENTION_HEADS,
            gated=gated,
            variant=SMALL.name if gated else MEDIUM.name,
            projector=ResamplerConfig.from_state_dict(projector) if projector else None,
        )

    @classmethod
    def from_unet_config(cls, unet_config: Mapping[str, Any]) -> "DynamiCrafterConfig":
        sizes = dict(unet_config)
        if isinstance(projector := sizes.get("projector"), Mapping):
            sizes["projector"] = ResamplerConfig(**projector)
        return super().from_unet_config(sizes)

    def complete(self, checkpoint: Mapping[str, Any]) -> "DynamiCrafterConfig":
        """The same with the variant that the checkpoint says, whose tensors may have any accepted layout.

        Raises CheckpointError where the network that makes the image tokens is missing: a UNet alone cannot see its image.
        """
        if self.projector is None:
            raise CheckpointError(
                f"The DynamiCrafter checkpoint holds a UNet without its image projector ({PROJECTOR}*), which it cannot see an image "
                "without; choose a file that holds both, and load it with Cinemo DynamiCrafter Loader."
            )
        variant = variant_of(self.gated, checkpoint)
        return self if variant is None else replace(self, variant=variant.name)
