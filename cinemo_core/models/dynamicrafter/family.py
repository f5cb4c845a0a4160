"""DynamiCrafter's row in the table of families."""

from functools import partial

from ...motion.match import MotionInput
from ..family import Family
from ..sd_unet.skeleton import tensor_shapes
from .checkpoint import other_parts
from .config import DynamiCrafterConfig
from .keys import SENSITIVE, is_dynamicrafter, normalise
from .published import PUBLISHED
from .unet import DynamiCrafterUNet


def expected_shapes(config: DynamiCrafterConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that UNet and projector of this configuration hold, under the names used here."""
    return tensor_shapes(partial(DynamiCrafterUNet, config))


DYNAMICRAFTER = Family(
    name="DynamiCrafter",
    where="choose a DynamiCrafter checkpoint (model.ckpt of the published ones, or a file with their UNet and image projector)",
    is_mine=is_dynamicrafter,
    normalise=normalise,
    config=DynamiCrafterConfig.from_state_dict,
    shapes=expected_shapes,
    complete=DynamiCrafterConfig.complete,
    sensitive=SENSITIVE,
    files=PUBLISHED,
    motion=MotionInput(
        "DynamiCrafter",
        more="lower fps, or with the 256 model raise frame_stride",
        less="raise fps, or with the 256 model lower frame_stride",
    ),
    other_parts=other_parts,
)
