"""The text encoder: CLIP's (transformers), frozen or trained along."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..files.checkpoint import compare, read_shapes, read_state_dict
from ..files.folder import find_weights, read_config
from ..models.clip_text import keys


def from_scratch(config: keys.CLIPTextConfig, seed: int, change: Callable[[Any, torch.Generator], None] | None = None) -> nn.Module:
    """With transformers' own initial weights, or what `change` makes of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build(config)
    if change:
        change(encoder, torch.Generator().manual_seed(seed))
    return encoder


def load(folder: Path) -> nn.Module:
    """The text encoder of a checkpoint. Raises CheckpointError unless it is a whole CLIP text encoder."""
    weights = find_weights(folder)
    shapes = keys.normalise(read_shapes(weights))
    json_config = read_config(folder)
    if not json_config:
        raise CheckpointError(f"{folder} has no config.json, which says how many heads the text encoder has; put the checkpoint's there.")
    config = keys.read_config(shapes, json_config)
    compare(shapes, keys.shapes(config), f"The text encoder {weights}")
    encoder = build(config)
    state_dict = keys.normalise(read_state_dict(weights))
    prefix = keys.PREFIX if next(iter(encoder.state_dict())).startswith(keys.PREFIX) else ""
    encoder.load_state_dict({prefix + name.removeprefix(keys.PREFIX): tensor.float() for name, tensor in state_dict.items()})
    return encoder


def build(config: keys.CLIPTextConfig) -> nn.Module:
    """In float32, with transformers' own initial weights."""
    import transformers

    options = config.json_config() | {"bos_token_id": keys.START_TOKEN, "pad_token_id": keys.END_TOKEN}
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(**options)).float()


def encode(encoder: nn.Module, tokens: Tensor) -> Tensor:
    """The last hidden state after the final norm, which the UNet reads: tokens [n, 77] -> [n, 77, d].

    Equal rows are encoded once: in a batch half of the captions are empty.
    """
    distinct, place = torch.unique(tokens, dim=0, return_inverse=True)
    return encoder(input_ids=distinct).last_hidden_state[place]
