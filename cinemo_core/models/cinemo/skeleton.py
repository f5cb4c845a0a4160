"""Names and shapes of all tensors of a Cinemo UNet, without allocating one."""

from functools import partial

from ..sd_unet.skeleton import tensor_shapes
from .config import CinemoConfig
from .unet import CinemoUNet


def expected_shapes(config: CinemoConfig) -> dict[str, tuple[int, ...]]:
    """LDM name -> shape of every tensor that a UNet of this configuration holds."""
    return tensor_shapes(partial(CinemoUNet, config))
