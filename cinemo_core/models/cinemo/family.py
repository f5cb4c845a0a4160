"""Cinemo's row in the table of families."""

from ..family import Family
from .config import CinemoConfig
from .diffusers_config import check_diffusers_config
from .keys import SENSITIVE, is_cinemo, normalise
from .published import PUBLISHED
from .skeleton import expected_shapes

CINEMO = Family(
    name="Cinemo",
    where="choose the UNet of a Cinemo checkpoint (unet/diffusion_pytorch_model or cinemo.pt of the published one)",
    is_mine=is_cinemo,
    normalise=normalise,
    config=CinemoConfig.from_state_dict,
    shapes=expected_shapes,
    sensitive=SENSITIVE,
    published=PUBLISHED,
    check_config_file=check_diffusers_config,
)
