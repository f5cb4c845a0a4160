"""Animate Anyone's row in the table of families."""

from functools import partial

from ..family import Family
from ..sd_unet.skeleton import tensor_shapes
from .config import AnimateAnyoneConfig
from .keys import REFERENCE, SENSITIVE, is_animate_anyone, normalise
from .published import PUBLISHED
from .published_set import is_part, join
from .reference_net import ReferenceNet
from .unet import AnimateAnyoneUNet


def expected_shapes(config: AnimateAnyoneConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the denoising UNet, its Pose Guiders and ReferenceNet, under the names used here."""
    reference = tensor_shapes(partial(ReferenceNet, config))
    return tensor_shapes(partial(AnimateAnyoneUNet, config)) | {REFERENCE + name: shape for name, shape in reference.items()}


ANIMATE_ANYONE = Family(
    name="Animate Anyone",
    where="choose the folder of a published set (denoising_unet, motion_module, reference_unet, pose_guider), or one file made of it",
    is_mine=is_animate_anyone,
    normalise=normalise,
    config=AnimateAnyoneConfig.from_state_dict,
    shapes=expected_shapes,
    sensitive=SENSITIVE,
    sets=PUBLISHED,
    join=join,
    is_part=is_part,
)
