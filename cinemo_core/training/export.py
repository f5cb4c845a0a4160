"""Writes a finished checkpoint: a folder in diffusers layout that CinemoBundleLoader and CinemoModelLoader load."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files.folder import find_weights
from ..files.mode import allow_others
from ..models.cinemo.config import CinemoConfig
from ..models.cinemo.diffusers_config import diffusers_config
from ..models.cinemo.keys import TABLE
from ..models.cinemo.schedule import BETA_END, BETA_START, NUM_TRAIN_TIMESTEPS, STEPS_OFFSET
from ..models.clip_text import keys as clip_text
from .objective import DIRECT, RESIDUAL

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
UNET_WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = "model_index.json"
TEXT_WEIGHTS = "model.safetensors"
# As the scheduler's configuration names them: by this the bundle loader refuses a network that denoises the frames themselves.
PREDICTION_TYPES = {RESIDUAL: "epsilon", DIRECT: "epsilon of frames"}


def write_checkpoint(
    folder: Path,
    unet: Mapping[str, Tensor],
    config: CinemoConfig,
    text_encoder: Mapping[str, Tensor],
    text_config: Any,
    vaes: Mapping[str, Path],
    dtype: str,
    prediction: str,
) -> None:
    """Write the folder, in place of an earlier export; it appears when it is whole.

    unet: tensors under LDM names. text_encoder: tensors under transformers' names, text_config its configuration.
    vaes: name of a part (vae, vae_temporal_decoder) -> the folder that it is copied from.
    Raises InputError where the folder holds anything else than a checkpoint.
    """
    from safetensors.torch import save_file

    check_target(folder)
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    for part in ("unet", "text_encoder", "scheduler", *vaes):
        (partial / part).mkdir(parents=True)
    names = TABLE.to_diffusers(unet, config)
    to_file({names[key]: tensor for key, tensor in unet.items()}, partial / "unet" / UNET_WEIGHTS, dtype, save_file)
    to_file(clip_text.normalise(prefixed(text_encoder)), partial / "text_encoder" / TEXT_WEIGHTS, dtype, save_file)
    for part, source in vaes.items():
        for file in (find_weights(source), source / "config.json"):
            if file.is_file():
                shutil.copyfile(file, partial / part / file.name)
    for name, content in json_files(config, text_config, vaes, prediction).items():
        (partial / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    replace_folder(partial, folder)


def check_target(folder: Path, holds: str = INDEX) -> None:
    """Raise InputError unless the folder can be written: new, empty, or an earlier export, which holds a file of this name."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / holds).is_file())):
        raise InputError(f"{folder} exists and is not an earlier export; choose another export.folder.")


def prefixed(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text encoder's tensors by the names of the published checkpoint."""
    return {name if name.startswith(clip_text.PREFIX) else clip_text.PREFIX + name: tensor for name, tensor in state_dict.items()}


def to_file(tensors: Mapping[str, Tensor], path: Path, dtype: str, save) -> None:
    """Write tensors as safetensors. Raises InputError where one leaves the range of the type."""
    converted = {}
    for name, tensor in tensors.items():
        out = tensor.detach().to("cpu", DTYPES[dtype]).contiguous()
        if not out.isfinite().all():
            raise InputError(f"{name} holds values that {dtype} cannot; choose another export.dtype, or an earlier training checkpoint.")
        converted[name] = out
    save(converted, path, metadata={"format": "pt"})
    allow_others(path)


def replace_folder(partial: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def json_files(config: CinemoConfig, text: Any, vaes: Mapping[str, Path], prediction: str) -> dict[str, dict[str, Any]]:
    sizes = clip_text.CLIPTextConfig(
        hidden_size=text.hidden_size,
        intermediate_size=text.intermediate_size,
        num_hidden_layers=text.num_hidden_layers,
        num_attention_heads=text.num_attention_heads,
        hidden_act=text.hidden_act,
    )
    parts = {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "vae_temporal_decoder": ["diffusers", "AutoencoderKLTemporalDecoder"],
    }
    present = {name: where for name, where in parts.items() if not name.startswith("vae") or name in vaes}
    return {
        INDEX: {"_class_name": "CinemoPipeline"} | present,
        "unet/config.json": {"_class_name": "UNetMidBlock3DCrossAttn"} | diffusers_config(config),
        "text_encoder/config.json": {"architectures": ["CLIPTextModel"], "layer_norm_eps": clip_text.LAYER_NORM_EPS} | sizes.json_config(),
        "scheduler/scheduler_config.json": {
            "_class_name": "DDIMScheduler",
            "beta_end": BETA_END,
            "beta_schedule": "linear",
            "beta_start": BETA_START,
            "clip_sample": False,
            "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
            "prediction_type": PREDICTION_TYPES[prediction],
            "set_alpha_to_one": False,
            "steps_offset": STEPS_OFFSET,
        },
    }
