"""Loads a Cinemo UNet file as a ComfyUI MODEL; the choice of dtype, device and casting is ComfyUI's own."""

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch

from ..models.cinemo.config import CinemoConfig
from ..models.cinemo.family import CINEMO
from ..models.recognise import recognise
from ..models.sd_unet.keys import LDM_PREFIX
from .files import read_weights
from .model import CinemoSupported
from .narrow import without_scales

WEIGHT_DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def load_unet(path: str, weight_dtype: str = "default", disable_dynamic: bool = False):
    """A ModelPatcher for the Cinemo UNet in a file of any accepted layout (see `models.cinemo.keys.normalise`).

    Raises CheckpointError, before a model is made, for a file that is not a complete Cinemo UNet, and for weights that cannot
    be held in the format.
    """
    state_dict, config, quant_config = _read_unet(path)
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    model_config = CinemoSupported(config.unet_config())
    model_config.quant_config = quant_config
    dtype = WEIGHT_DTYPES[weight_dtype]
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(state_dict),
            supported_dtypes=model_config.supported_inference_dtypes,
            weight_dtype=None if quant_config else comfy.utils.weight_dtype(state_dict),
        )
    manual_cast_dtype = comfy.model_management.unet_manual_cast(dtype, load_device, model_config.supported_inference_dtypes)
    model_config.set_inference_dtype(dtype, manual_cast_dtype, device=load_device)

    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    # Where the file already has the wanted dtype its mapped memory becomes the weights, without a copy.
    kept = all(tensor.dtype == dtype for tensor in state_dict.values())
    model = model_config.get_model(state_dict, device="meta" if kept else None)
    model.device = offload_device
    model_patcher = patcher_class(model, load_device=load_device, offload_device=offload_device)
    model.load_model_weights(state_dict, assign=kept or model_patcher.is_dynamic())
    if not comfy.model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    model_patcher.cached_patcher_init = (load_unet, (path, weight_dtype))
    return model_patcher


def _read_unet(path: str) -> tuple[dict[str, torch.Tensor], CinemoConfig, dict | None]:
    """The tensors of a UNet file, its configuration, and ComfyUI's description of scaled weights if the file has some."""
    state_dict = read_weights(path)
    weights = without_scales(state_dict)
    _, unet, config = recognise(path, weights, CINEMO)
    unet |= {name.removeprefix(LDM_PREFIX): tensor for name, tensor in state_dict.items() if name not in weights}
    return unet, config, comfy.utils.detect_layer_quantization(unet, "")
