"""Lets ComfyUI's own loaders recognise the families under LDM names: their published files, and what ModelSave and CheckpointSave write.

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
        outside: dict[str, Any]

        @classmethod
        def matches(cls, unet_config, state_dict=None, unet_key_prefix=""):
            return state_dict is not None and family.is_mine(key for key in state_dict if key.startswith(unet_key_prefix))

        def get_model(self, state_dict, prefix="", device=None):
            """Raises CheckpointError for a network that lacks tensors, before it is built."""
            whole = without_scales(state_dict)
            network = family.normalise(whole)
            config = family.complete(family.config(network), whole)
            compare(shapes_of(network), family.shapes(config), f"The {family.name} UNet of the checkpoint")
            self.unet_config = config.unet_config() | {"dtype": self.unet_config["dtype"]}
            within = family.normalise({key: tensor for key, tensor in whole.items() if key.startswith(prefix)})
            self.outside = {name: tensor for name, tensor in network.items() if name not in within}
            return super().get_model(network, "", device)

        def process_unet_state_dict(self, state_dict):
            """The network's tensors under the names used here, with those that the checkpoint has elsewhere."""
            return super().process_unet_state_dict(family.normalise(state_dict | self.outside))

    StockDescription.__name__ = StockDescription.__qualname__ = f"{family.name}Checkpoint"
    return StockDescription


def register() -> None:
    """Add the families to the models that ComfyUI's loaders know, before Stable Diffusion; a second call changes nothing."""
    descriptions: tuple[Any, ...] = families.DESCRIPTIONS
    for description in map(stock_description, descriptions):
        if description not in comfy.supported_models.models:
            comfy.supported_models.models.insert(0, description)
