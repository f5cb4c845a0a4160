"""What the families' descriptions for ComfyUI share: the model they make, and its weights in formats narrower than the file's."""

from typing import Any

import torch

from ..errors import InputError
from ..models.family import Family
from .narrow import Narrowing, keep_own_formats, plan_narrowing, scale_weights, without_scales


class FamilyDescription:
    """To be mixed into a class of `comfy.supported_models`, before it, with `family` and `model_class` given.

    For error messages: loaders, the nodes that load this family; conditioner, the node that says which image to animate;
    text_encoder, which one it reads.
    """

    family: Family
    model_class: type[torch.nn.Module]
    loaders: str
    conditioner: str
    text_encoder: str

    unet_config: dict[str, Any]
    quant_config: dict[str, Any] | None = None  # what ComfyUI's operations are chosen by, where weights have scales
    narrowing = Narrowing()

    def get_model(self, state_dict, prefix="", device=None):
        """Raises CheckpointError, before the network is built, where its weights cannot be held in the format asked for."""
        unet = {key[len(prefix) :]: tensor for key, tensor in without_scales(state_dict).items() if key.startswith(prefix)}
        self.narrowing = plan_narrowing(unet, self.unet_config["dtype"], self.family.sensitive, f"The {self.family.name} UNet")
        if self.narrowing.scaled:
            self.quant_config = {"mixed_ops": True}  # as ComfyUI's detection says of a file with scaled weights
        model: Any = self.model_class(self, device=device)
        keep_own_formats(self.networks(model), self.narrowing.own)
        return model

    def networks(self, model: Any) -> torch.nn.Module:
        """What holds the tensors of a checkpoint under their names."""
        return model.diffusion_model

    def process_unet_state_dict(self, state_dict):
        return scale_weights(state_dict, self.narrowing.scaled, self.unet_config["dtype"]) if self.narrowing.scaled else state_dict


def check_model(model, description: type[FamilyDescription]) -> None:
    """Raise InputError unless a MODEL is of this family."""
    if not isinstance(model.model, description.model_class):
        found = getattr(getattr(model.model, "model_config", None), "family", None)
        raise InputError(
            f"The model is {found.name if found else type(model.model).__name__}, not {description.family.name}; "
            f"load one with {description.loaders}."
        )
