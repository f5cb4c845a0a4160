"""Loads the CLIP text encoder of a diffusers folder, of any width, into ComfyUI's CLIP object.

ComfyUI's default for SD1.x is the last layer with the final layer norm: the last hidden state, which Cinemo was trained on.
"""

from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.sd
import folder_paths
from comfy.model_patcher import ModelPatcher
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer, SDClipModel, SDTokenizer
from comfy.supported_models_base import ClipTarget
from comfy.utils import calculate_parameters

from ..errors import CheckpointError
from ..files.checkpoint import compare, read_shapes, shapes_of
from ..files.folder import find_weights, read_config
from ..models.clip_text import keys
from ..models.recognise import describe
from .files import read_weights
from .narrow import Narrowing, keep_own_formats, plan_narrowing

STATE_DICT_PREFIX = "clip_l.transformer."


def load_clip(folder: str | Path, tokenizer: str | Path | None = None, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """A CLIP from a text_encoder folder (weights and config.json), with ComfyUI's own copy of the CLIP tokenizer.

    The tokenizer folder, if given, is only compared with that copy. Raises CheckpointError for a folder that does not hold
    one complete CLIP text encoder, for another vocabulary, and for weights that ComfyUI's format for text encoders cannot hold.
    """
    weights = find_weights(folder)
    config = read_clip_config(folder)
    if tokenizer is not None:
        check_tokenizer(Path(tokenizer))
    state_dict = keys.normalise(read_weights(str(weights)))
    compare(shapes_of(state_dict), keys.shapes(config), f"The text encoder {weights}")

    state_dict = {STATE_DICT_PREFIX + name: tensor for name, tensor in state_dict.items()}
    dtype = comfy.model_management.text_encoder_dtype(comfy.model_management.text_encoder_device())
    # No scales: ComfyUI's scaled layers need the projection of the pooled token, which SD1.x's text encoder lacks.
    narrowing = plan_narrowing(state_dict, dtype, (), f"The text encoder {weights}", scalable=False)

    target = ClipTarget(
        partial(SD1Tokenizer, tokenizer=partial(SDTokenizer, embedding_size=config.hidden_size)),
        partial(_text_encoder, narrowing),
    )
    target.params = {"clip_model": SDClipModel, "textmodel_json_config": config.json_config(), "return_projected_pooled": False}
    clip = comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=calculate_parameters(state_dict),
        state_dict=state_dict,
        disable_dynamic=disable_dynamic,
    )
    clip.patcher.cached_patcher_init = (load_clip_patcher, (folder, tokenizer))
    return clip


def _text_encoder(narrowing: Narrowing, **params) -> SD1ClipModel:
    encoder = SD1ClipModel(**params)
    keep_own_formats(encoder, narrowing.own)
    return encoder


def load_clip_patcher(folder: str | Path, tokenizer: str | Path | None = None, disable_dynamic: bool = False) -> ModelPatcher:
    """The patcher of a CLIP read from disk again, as ComfyUI asks for it."""
    return load_clip(folder, tokenizer, disable_dynamic).patcher


def read_clip_config(folder: str | Path) -> keys.CLIPTextConfig:
    """The configuration of the text encoder in a folder, without loading it. Raises CheckpointError if it is not CLIP's."""
    weights = find_weights(folder)
    shapes = read_shapes(weights)
    normal = keys.normalise(shapes)
    if f"{keys.PREFIX}embeddings.token_embedding.weight" not in normal:
        raise CheckpointError(
            f"{weights} is {describe(shapes)}, expected a CLIP text encoder: use the text_encoder folder of the checkpoint."
        )
    json_config = read_config(Path(folder))
    if not json_config:
        raise CheckpointError(f"{folder} has no config.json, which says how many heads the text encoder has; put the checkpoint's there.")
    return keys.read_config(normal, json_config)


def check_tokenizer(folder: Path) -> None:
    """Raise CheckpointError if a tokenizer folder has another vocabulary than CLIP's; a folder without one passes."""
    vocabulary = read_config(folder, "vocab.json") or read_config(folder, "tokenizer.json").get("model", {}).get("vocab", {})
    found = (len(vocabulary), vocabulary.get("<|startoftext|>"), vocabulary.get("<|endoftext|>"))
    if vocabulary and found != (keys.VOCABULARY, keys.START_TOKEN, keys.END_TOKEN):
        raise CheckpointError(
            f"{folder} holds a tokenizer of {found[0]} tokens, start {found[1]}, end {found[2]}; expected CLIP's {keys.VOCABULARY}, "
            f"{keys.START_TOKEN} and {keys.END_TOKEN}: use the tokenizer folder of the same checkpoint."
        )
