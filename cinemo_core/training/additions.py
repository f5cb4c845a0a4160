"""What a configuration may ask for by name beyond the paper: the one file of the trainer that imports nano's folder."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models.cinemo.unet import CinemoUNet
from .clips import Source
from .config import Data
from .nano.bag_of_words import bag_of_words
from .nano.pass_through import hold_again, pass_through
from .objective import RESIDUAL


class HeldWeights(NamedTuple):
    """Weights that a UNet has from the start and that do not train. Both functions take the UNet and objective.prediction.

    write: put them into a UNet made from scratch, and hold them; raises InputError where they do not fit its sizes.
    keep: hold them in a UNet that was trained with them; returns whether it has them.
    """

    write: Callable[[CinemoUNet, str], None]
    keep: Callable[[CinemoUNet, str], bool]


def write_pass_through(unet: CinemoUNet, prediction: str) -> None:
    pass_through(unet, subtract=prediction == RESIDUAL)


def keep_pass_through(unet: CinemoUNet, prediction: str) -> bool:
    return hold_again(unet, subtract=prediction == RESIDUAL)


# By the value of model.held_weights, which `config.Model` lists.
HELD_WEIGHTS: Mapping[str, HeldWeights] = {"pass_through": HeldWeights(write_pass_through, keep_pass_through)}
# By the value of text.initial_weights, which `config.Text` lists: what changes the initial weights of a text encoder made from scratch.
TEXT_WEIGHTS: Mapping[str, Callable[[Any, torch.Generator], None]] = {"bag_of_words": bag_of_words}


def procedural_clips(data: Data) -> Source:
    """The source of data.source = "procedural"."""
    from .nano.procedural.source import ProceduralClips

    return ProceduralClips(data)


def procedural_picture(seed: int, width: int, height: int, frames: int) -> tuple[Tensor, str]:
    """The first frame of the procedural clip of a seed, uint8 [3, height, width], and its caption."""
    from .nano.procedural import render_clip

    clip, caption = render_clip(seed, width, height, frames)
    return clip[0], caption
