"""Lets ComfyUI's own loaders recognise a Cinemo UNet under LDM names, as ModelSave and CheckpointSave write it.

The spatial half of those names is SD1.x's, so without this Load Checkpoint and Load Diffusion Model would take the file
for SD1.x and leave its temporal layers out.
"""

from typing import Any

import comfy.supported_models
from comfy.supported_models_base import ClipTarget

from ..checkpoint import compare, shapes_of
from ..models.cinemo.config import CinemoConfig
from ..models.cinemo.keys import is_cinemo
from ..models.cinemo.skeleton import expected_shapes
from .model import CinemoModel, CinemoSupported
from .narrow import without_scales

CLIP_L_WIDTH = 768


class CinemoCheckpoint(CinemoSupported):
    """The description as ComfyUI's detection uses it: made before the sizes are known, which are read from the tensors."""

    unet_config: dict[str, Any]

    @classmethod
    def matches(cls, unet_config, state_dict=None, unet_key_prefix=""):
        return state_dict is not None and is_cinemo(key for key in state_dict if key.startswith(unet_key_prefix))

    def get_model(self, state_dict, prefix="", device=None) -> CinemoModel:
        """Raises CheckpointError for a UNet that lacks tensors, before it is built."""
        unet = {key[len(prefix) :]: tensor for key, tensor in without_scales(state_dict).items() if key.startswith(prefix)}
        config = CinemoConfig.from_state_dict(unet)
        compare(shapes_of(unet), expected_shapes(config), "The Cinemo UNet of the checkpoint")
        self.unet_config = config.unet_config() | {"dtype": self.unet_config["dtype"]}
        return super().get_model(state_dict, prefix, device)

    def clip_target(self, state_dict={}) -> ClipTarget | None:
        """SD1.x's CLIP ViT-L; ComfyUI's checkpoint format does not tell the heads of a text encoder of another width."""
        return super().clip_target(state_dict) if self.unet_config["context_dim"] == CLIP_L_WIDTH else None


def register() -> None:
    """Add Cinemo to the models that ComfyUI's loaders know, before SD1.x; a second call changes nothing."""
    if CinemoCheckpoint not in comfy.supported_models.models:
        comfy.supported_models.models.insert(0, CinemoCheckpoint)
