"""Lets ComfyUI's own loaders recognise the families under LDM names, as ModelSave and CheckpointSave write them.

The spatial half of those names is Stable Diffusion's, so without this Load Checkpoint and Load Diffusion Model would take such
a file for an image model and leave its temporal layers out.
"""

import functools
from typing import Any

import comfy.supported_models

from ..files.checkpoint import compare, shapes_of
from . import families
from .narrow import without_scales


@functools.cache
def stock_description(description: Any) -> type[Any]:
    """A family's description as ComfyUI's detection uses it: made before the sizes are known, which are read from the tensors."""
    family = description.family

    class StockDescription(description):
        unet_config: dict[str, Any]

        @classmethod
        def matches(cls, unet_config, state_dict=None, unet_key_prefix=""):
            return state_dict is not None and family.is_mine(key for key in state_dict if key.startswith(unet_key_prefix))

        def get_model(self, state_dict, prefix="", device=None):
            """Raises CheckpointError for a network that lacks tensors, before it is built."""
            network = {key[len(prefix) :]: tensor for key, tensor in without_scales(state_dict).items() if key.startswith(prefix)}
            config = family.complete(family.config(network), state_dict)
            compare(shapes_of(network), family.shapes(config), f"The {family.name} UNet of the checkpoint")
            self.unet_config = config.unet_config() | {"dtype": self.unet_config["dtype"]}
            return super().get_model(state_dict, prefix, device)

    StockDescription.__name__ = StockDescription.__qualname__ = f"{family.name}Checkpoint"
    return StockDescription


def register() -> None:
    """Add the families to the models that ComfyUI's loaders know, before Stable Diffusion; a second call changes nothing."""
    descriptions: tuple[Any, ...] = families.DESCRIPTIONS
    for description in map(stock_description, descriptions):
        if description not in comfy.supported_models.models:
            comfy.supported_models.models.insert(0, description)
