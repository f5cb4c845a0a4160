"""A LoRA for ReferenceNet, which ComfyUI's own LoRA nodes do not reach: it is a network of its own next to the MODEL."""

from types import SimpleNamespace

import comfy.lora
import comfy.lora_convert
import torch

from ...errors import InputError
from ..description import check_model
from .model import AnimateAnyoneSupported
from .reference import ATTACHMENT, reference_of

PREFIX = "diffusion_model."  # under which ComfyUI's map has a UNet's layers


def patch_reference(model, lora: dict[str, torch.Tensor], strength: float, what: str = "The LoRA"):
    """A copy of the MODEL whose ReferenceNet has a LoRA for Stable Diffusion 1.x, on top of those that it had.

    lora: the tensors of its file, which `what` names. Raises InputError for one that changes no layer of ReferenceNet.
    """
    check_model(model, AnimateAnyoneSupported)
    patcher = reference_of(model).clone()
    patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(lora), layer_names(model, patcher), log_missing=False)
    if not patcher.add_patches(patches, strength):
        raise InputError(
            f"{what} has no layer that ReferenceNet has; choose a LoRA for the UNet of Stable Diffusion 1.x, or one trained on "
            "ReferenceNet."
        )
    model = model.clone()
    model.set_attachments(ATTACHMENT, patcher)
    return model


def layer_names(model, patcher) -> dict[str, str]:
    """Names of layers in LoRA files -> ReferenceNet's tensors: ComfyUI's own map for a UNet of these sizes."""
    weights = {PREFIX + name: tensor for name, tensor in patcher.model.state_dict().items()}
    unet = SimpleNamespace(state_dict=lambda: weights, model_config=model.model.model_config)
    names = comfy.lora.model_lora_keys_unet(unet, {})
    return {name: target.removeprefix(PREFIX) for name, target in names.items() if target in weights}
