"""ReferenceNet in ComfyUI: a network of its own next to the MODEL, which is run once for a clip and not held while one is sampled."""

from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ...models.animate_anyone.attention import Bank
from ...models.animate_anyone.config import AnimateAnyoneConfig
from ...models.animate_anyone.reference_net import ReferenceNet

ATTACHMENT = "cinemo_reference_net"  # a patched ReferenceNet in place of the model's own


class ReferenceNetwork(ReferenceNet):
    """With ComfyUI's attention."""

    def __init__(self, *, dtype, device, operations, **unet_config):
        config = AnimateAnyoneConfig.from_unet_config(unet_config)
        attention = comfy.ldm.modules.attention.optimized_attention
        super().__init__(config, attention=attention, dtype=dtype, device=device, operations=operations)


def make_reference(model_config: Any, device=None):
    """A ModelPatcher of ReferenceNet, without weights yet, with the operations that ComfyUI chooses for the MODEL."""
    dtype = model_config.unet_config["dtype"]
    operations = model_config.custom_operations or comfy.ops.pick_operations(
        dtype, model_config.manual_cast_dtype, fp8_optimizations=model_config.optimizations.get("fp8", False), model_config=model_config
    )
    network = ReferenceNetwork(**model_config.unet_config, device=device, operations=operations)
    network.eval().requires_grad_(False)
    comfy.model_management.archive_model_dtypes(network)
    return comfy.model_patcher.CoreModelPatcher(
        network,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def reference_of(model):
    """The ModelPatcher of a MODEL's ReferenceNet, with what was patched into it."""
    return model.get_attachment(ATTACHMENT) or model.model.reference


def make_bank(model, latent: torch.Tensor, image_embeds: torch.Tensor) -> Bank:
    """Run ReferenceNet once. latent: as the VAE gives it (unscaled) [1, 4, h, w]; image_embeds: [1, 1, d]. The bank waits off the GPU."""
    patcher = reference_of(model)
    comfy.model_management.load_models_gpu([patcher], memory_required=model.model.memory_required(latent.shape))
    dtype, device = model.model.get_dtype_inference(), patcher.load_device
    latent = model.model.process_latent_in(latent).to(device, dtype)
    bank = patcher.model(latent, image_embeds.to(device, dtype))
    return {block: tokens.to(comfy.model_management.intermediate_device()) for block, tokens in bank.items()}
