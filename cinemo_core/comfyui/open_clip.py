"""Makes ComfyUI's CLIP and CLIP_VISION from the towers of an OpenCLIP model inside a checkpoint, of any width.

The text tower is used as in Stable Diffusion 2.x: the last block but one, then the last norm. The names are OpenCLIP's, or those
that ComfyUI saves. Where a tower already has the type that ComfyUI wants, its mapped memory becomes the weights, without a copy.
"""

from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.supported_models_base import ClipTarget
from comfy.text_encoders.sd2_clip import SD2ClipModel, SD2Tokenizer

from ..errors import CheckpointError
from ..files.checkpoint import compare, shapes_of
from ..models.clip_text import keys as text_keys
from ..models.clip_vision import keys as image_keys
from .narrow import keep_own_formats, plan_narrowing

MODEL = "clip_h"  # as ComfyUI calls it
NETWORK = f"{MODEL}.transformer."
PROJECTION = "text_projection.weight"

StateDict = dict[str, torch.Tensor]


def make_clip(tower: StateDict, head_dim: int, what: str, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """A CLIP from the tensors of a text tower.

    Raises CheckpointError, beginning with `what`, for a tower that is incomplete or of another kind, and for weights that
    ComfyUI's format for text encoders cannot hold.
    """
    network, config = _read_text_tower(tower, head_dim, what)
    state_dict = {NETWORK + name: tensor for name, tensor in network.items()}
    dtype = comfy.model_management.text_encoder_dtype(comfy.model_management.text_encoder_device())
    narrowing = plan_narrowing(state_dict, dtype, (), what, scalable=False)

    def encoder(**params: Any) -> SD2ClipModel:
        model = SD2ClipModel(**params)
        keep_own_formats(model, narrowing.own)
        return model

    clip = comfy.sd.CLIP(
        ClipTarget(SD2Tokenizer, encoder),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=comfy.utils.calculate_parameters(state_dict),
        model_options={f"{MODEL}_model_config": config.json_config()},
        disable_dynamic=disable_dynamic,
    )
    _load(clip.cond_stage_model, state_dict, dtype, clip.patcher)
    return clip


def make_clip_vision(tower: StateDict, head_dim: int, what: str) -> comfy.clip_vision.ClipVisionModel:
    """A CLIP_VISION from the tensors of an image tower. Raises CheckpointError as `make_clip` does."""
    state_dict = comfy.clip_vision.convert_to_transformers(dict(tower), "")
    if image_keys.PROJECTION in state_dict:
        state_dict[image_keys.PROJECTION] = state_dict[image_keys.PROJECTION].contiguous()
    config = image_keys.read_config(shapes_of(state_dict), head_dim)
    compare(shapes_of(state_dict), image_keys.shapes(config), what)
    clip_vision = comfy.clip_vision.ClipVisionModel(config.json_config())
    narrowing = plan_narrowing(state_dict, clip_vision.dtype, (), what, scalable=False)
    keep_own_formats(clip_vision.model, narrowing.own)
    _load(clip_vision.model, state_dict, clip_vision.dtype, clip_vision.patcher)
    return clip_vision


def text_width(tower: StateDict) -> int | None:
    """Channels of a text tower, None for none."""
    return next((t.shape[-1] for name, t in tower.items() if name.endswith("token_embedding.weight")), None)


def image_width(tower: StateDict) -> int | None:
    """Channels of an image tower, None for none."""
    return next((t.shape[0] for name, t in tower.items() if name.endswith("class_embedding")), None)


def _read_text_tower(tower: StateDict, head_dim: int, what: str) -> tuple[StateDict, text_keys.CLIPTextConfig]:
    """The tensors of ComfyUI's text encoder, complete, and their sizes."""
    found = comfy.utils.clip_text_transformers_convert(dict(tower), "", "")
    network = text_keys.normalise(found)
    width = text_width(network)
    if width is None or width % head_dim:
        raise CheckpointError(
            f"{what} {'lacks its token embedding' if width is None else f'is {width} channels wide'}, expected a multiple of {head_dim} "
            "channels: the file is incomplete or of another model; download it again or choose another."
        )
    config = text_keys.read_config(shapes_of(network), {"num_attention_heads": width // head_dim, "hidden_act": "gelu"})
    compare(shapes_of(network), text_keys.shapes(config), what)
    projection = found.get(PROJECTION)
    if projection is None or projection.shape != (width, width):  # of the pooled token, which no network here reads
        projection = torch.eye(width, dtype=network[f"{text_keys.PREFIX}final_layer_norm.weight"].dtype)
    return network | {PROJECTION: projection}, config


def _load(network: torch.nn.Module, state_dict: StateDict, dtype: torch.dtype, patcher: Any) -> None:
    kept = all(tensor.dtype == dtype for tensor in state_dict.values())
    network.load_state_dict(state_dict, strict=False, assign=kept or patcher.is_dynamic())
