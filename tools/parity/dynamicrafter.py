"""DynamiCrafter's cases.

N.x [b, 4, f, h, w] (noisy latents), N.c_concat (the image's, of the same shape), N.timesteps [1] or [b], N.context
[b, 77 + image tokens, d], N.fs [b] unless it is the default, and N.output like x.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import torch

from cinemo_core.comfyui.dynamicrafter.model import DynamiCrafterNetwork
from cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER

from .reader import Case, Reader, fold, unfold

TEXT, PER_FRAME = 77, 16  # tokens
DEFAULT_FS = {False: 24, True: 3}  # with gates, the 256 model


def sizes(config: DynamiCrafterConfig) -> dict:
    return {
        "in_channels": config.in_channels,
        "model_channels": config.model_channels,
        "channel_mult": list(config.channel_mult),
        "num_head_channels": config.num_head_channels,
        "context_dim": config.context_dim,
    }


def evaluate(network: Any, case: Case, facts: Mapping[str, Any]) -> torch.Tensor:
    """What the network predicts. Image tokens are each frame's own where there are 16 for each, else all frames see all."""
    clips, _, frames = case["x"].shape[:3]
    x = fold(torch.cat([case["x"], case["c_concat"]], dim=1))
    timesteps = case["timesteps"].float().expand(clips).repeat_interleave(frames)
    text, image = case["context"][:, :TEXT], case["context"][:, TEXT:]
    if image.shape[1] == PER_FRAME * frames:
        image = image.unflatten(1, (frames, PER_FRAME)).flatten(0, 1)
    fs = case.get("fs", torch.full((clips,), DEFAULT_FS[network.config.gated]))
    out = network(x, timesteps, text, transformer_options={}, image_tokens=image if image.shape[1] else None, fs=fs)
    return unfold(out, clips)


def recorded_otherwise(weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> set[str]:
    """Cases whose recorded checksum is another: crc32 over the weights as float16, in the order of their names."""
    crc = 0
    for name in sorted(weights):
        crc = zlib.crc32(weights[name].half().contiguous().numpy().tobytes(), crc)
    return {case["name"] for case in facts.get("cases", []) if case.get("weights_checksum", f"{crc:08x}") != f"{crc:08x}"}


READER = Reader(
    family=DYNAMICRAFTER,
    network=DynamiCrafterNetwork,
    needed=("x", "c_concat", "timesteps", "context", "output"),
    sizes=sizes,
    evaluate=evaluate,
    recorded_otherwise=recorded_otherwise,
)
