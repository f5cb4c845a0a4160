"""Loads a network of one of the families as a ComfyUI MODEL; the choice of dtype, device and casting is ComfyUI's own."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch

from ..errors import CheckpointError
from ..files.folder import weights_in
from ..models.family import Family
from ..models.file_set import read_set
from ..models.recognise import Recognised, recognise
from ..models.sd_unet.keys import LDM_PREFIX
from .families import description_of
from .files import read_weights
from .narrow import without_scales

WEIGHT_DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def load_unet(
    path: str | tuple[str, ...],
    weight_dtype: str = "default",
    family: Family | None = None,
    chosen: Mapping[str, Any] | None = None,
    disable_dynamic: bool = False,
):
    """A ModelPatcher for the network in a file of any layout that its family accepts; of `family`, or of any.

    path: of a file; for a `family` that is published in several files, of the folder of a set, or of each of its files.

    chosen: fields of its configuration that take the place of those read, such as a variant that a file cannot tell.
    Raises CheckpointError, before a model is made, for a file that does not hold such a network, whole, and for weights that
    cannot be held in the format.
    """
    (family, state_dict, config), quant_config = _read_network(path, family)
    config = replace(config, **(chosen or {}))
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    model_config: Any = description_of(family)(config.unet_config())  # type: ignore[call-arg]  # of the class it is mixed into
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
    model_patcher.cached_patcher_init = (load_unet, (path, weight_dtype, family, chosen))
    return model_patcher


def _read_network(path: str | tuple[str, ...], family: Family | None) -> tuple[Recognised, dict | None]:
    """The network in a file or a set of files, and ComfyUI's description of scaled weights if it has some."""
    join = family.join if family else None
    if isinstance(path, str):
        where = path
        state_dict = read_set(weights_in(Path(path)), path, join, read_weights) if join and os.path.isdir(path) else read_weights(path)
    elif join:
        where = "the choice of files"
        state_dict = read_set(map(Path, path), where, join, read_weights)
    else:
        raise CheckpointError(f"{len(path)} files were given for a model that is one file; give that file.")
    weights = without_scales(state_dict)
    found = recognise(where, weights, family)
    found.state_dict.update({name.removeprefix(LDM_PREFIX): tensor for name, tensor in state_dict.items() if name not in weights})
    return found, comfy.utils.detect_layer_quantization(found.state_dict, "")
