"""Recognises a Cinemo UNet in the tensors of a file: whatever the layout, it comes out complete and under LDM names."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoint import compare, describe, shapes_of
from ...errors import CheckpointError
from .config import CinemoConfig
from .diffusers_config import check_diffusers_config
from .keys import is_cinemo, normalise
from .skeleton import expected_shapes


def recognise(path: str | os.PathLike, state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], CinemoConfig]:
    """The UNet's tensors under LDM names, as they are, and its configuration.

    Raises CheckpointError, before anything is built, where the file at `path` holds another model, lacks tensors, or lies
    beside a diffusers config.json that contradicts it.
    """
    if not is_cinemo(state_dict):
        raise CheckpointError(
            f"{path} is {describe(shapes_of(state_dict))}, expected a Cinemo UNet: choose the UNet of a Cinemo checkpoint "
            "(unet/diffusion_pytorch_model or cinemo.pt of the published one)."
        )
    unet = normalise(state_dict)
    config = CinemoConfig.from_state_dict(unet)
    compare(shapes_of(unet), expected_shapes(config), f"The Cinemo UNet {path}")
    check_diffusers_config(Path(path), config)
    return unet, config
