"""Cinemo's cases.

N.sample [b, 4, f, h, w] (noisy residual), N.base_content [b, 4, 1, h, w] (z0), N.timestep [1] or [b],
N.encoder_hidden_states [b, l, d], N.motion_ids [b] and N.output like the sample.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cinemo_core.comfyui.cinemo.model import CinemoNetwork
from cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_core.models.cinemo.family import CINEMO

from .reader import Case, Reader, fold, unfold


def sizes(config: CinemoConfig) -> dict:
    return {
        "attention_head_dim": config.num_heads,
        "block_out_channels": list(config.widths),
        "cross_attention_dim": config.context_dim,
        "addition_time_embed_dim": config.motion_dim,
    }


def evaluate(network: torch.nn.Module, case: Case, facts: Mapping[str, Any]) -> torch.Tensor:
    """The predicted noise of the residuals; the network is given frame 0 before them, without a residual."""
    residual, z0 = case["sample"].float(), case["base_content"].float()[:, :, 0]
    clips, frames = residual.shape[0], residual.shape[2] + 1
    x = fold(torch.cat([torch.zeros_like(residual[:, :, :1]), residual], dim=2))
    timesteps = case["timestep"].float().expand(clips).repeat_interleave(frames)
    context = case["encoder_hidden_states"].float()
    out = network(x, timesteps, context, transformer_options={}, z0=z0, motion_ids=case["motion_ids"].float())
    return unfold(out, clips)[:, :, 1:]


READER = Reader(
    family=CINEMO,
    network=CinemoNetwork,
    needed=("sample", "base_content", "timestep", "encoder_hidden_states", "motion_ids", "output"),
    sizes=sizes,
    evaluate=evaluate,
)
