"""Where a run starts: the networks from scratch or from checkpoints, as the configuration says."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import InputError
from ..files.folder import read_bundle
from ..models.cinemo.unet import CinemoUNet
from . import network, text
from .additions import HELD_WEIGHTS, TEXT_WEIGHTS
from .config import SCRATCH, Config
from .lora import add_lora
from .seeds import number


class Networks(NamedTuple):
    unet: CinemoUNet
    text_encoder: Any


def make_networks(config: Config) -> Networks:
    """Both networks in float32 on the CPU, with the right parameters trainable.

    Raises InputError or CheckpointError for parts that are missing or do not fit.
    """
    model = config.model
    text_encoder = make_text_encoder(config)
    width = text_encoder.config.hidden_size
    unet = make_unet(config, width)
    if unet.config.context_dim != width:
        raise InputError(
            f"The text encoder is {width} channels wide, but the UNet {model.start} reads {unet.config.context_dim}; "
            "use the text encoder of the same checkpoint."
        )
    if not model.train_text_encoder:
        text_encoder.requires_grad_(False).eval()
    if model.lora_rank:
        add_lora(unet, model.lora_rank, lora_alpha(config), model.lora_layers, number(config.run.seed, "lora"))
    if model.gradient_checkpointing:
        network.checkpoint_gradients(unet)
    return Networks(unet, text_encoder)


def share_with_start(config: Config, unet: Mapping[str, Tensor], text_encoder: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Trained weights of both networks, with export.start_share of where the run started.

    So much comes back of what a run forgets that sees other clips than the one before it (WiSE-FT, arXiv 2109.01903).
    """
    start, share = make_networks(config), config.export.start_share
    pairs = ((unet, start.unet.state_dict()), (text_encoder, start.text_encoder.state_dict()))
    return tuple({name: tensor.cpu().lerp(before[name], share) for name, tensor in after.items()} for after, before in pairs)


def lora_alpha(config: Config) -> float:
    """The alpha of the configuration; without one, the rank, which makes the scale 1."""
    return config.model.lora_alpha or float(config.model.lora_rank)


def make_unet(config: Config, context_dim: int) -> CinemoUNet:
    held = HELD_WEIGHTS.get(config.model.held_weights)
    if config.model.start == SCRATCH:
        unet = network.from_scratch(config.unet.config(context_dim), number(config.run.seed, "unet"))
        if held:
            held.write(unet, config.objective.prediction)
    else:
        unet = network.load(Path(config.model.start), config.unet.motion_dim, number(config.run.seed, "unet"))
        if held and not held.keep(unet, config.objective.prediction):
            raise InputError(
                f'The UNet {config.model.start} was not trained with model.held_weights = "{config.model.held_weights}", '
                "so there is nothing to hold; leave that key out."
            )
    return unet


def make_text_encoder(config: Config) -> Any:
    """From model.text_encoder, else from the checkpoint folder that the UNet starts from, else from scratch."""
    model = config.model
    if model.text_encoder:
        return text.load(Path(model.text_encoder))
    if model.start == SCRATCH:
        if not model.train_text_encoder:
            raise InputError(
                "model.text_encoder is missing; give a folder, or train one from scratch with model.train_text_encoder = true."
            )
        return text.from_scratch(config.text.config(), number(config.run.seed, "text"), TEXT_WEIGHTS.get(config.text.initial_weights))
    folder = read_bundle(model.start).text_encoder if os.path.isdir(model.start) else None
    if folder is None:
        raise InputError(f"{model.start} has no text_encoder/ folder; give one as model.text_encoder.")
    return text.load(folder)
