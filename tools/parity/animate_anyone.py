"""Animate Anyone's cases. The weights are a folder with the files of a set, or one file made of them.

N.sample [b, 4, f, h, w] (noisy latents), N.encoder_hidden_states [b, 1, d], N.timestep [1] or [b], N.ref_latents [b, 4, h, w]
and N.pose_u8 [1 or b, 3, f, 8h, 8w] (two for the re-enactment set, N.pose1_u8 and N.pose2_u8) where there are any, and N.output like
the sample. A first row whose embedding is zero is the prediction without the picture. The numbers of heads, which no shape says,
come from the JSON file.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cinemo_core.comfyui.animate_anyone.model import AnimateAnyoneNetwork
from cinemo_core.comfyui.animate_anyone.reference import ReferenceNetwork
from cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE

from .reader import Case, Reader, fold, unfold

POSES = ("pose_u8", "pose1_u8", "pose2_u8")
RECORDED = {"num_heads": "attention_head_dim", "motion_heads": "motion_num_attention_heads"}


class Networks(AnimateAnyoneNetwork):
    """All of them under the names that a checkpoint has."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.reference_net = ReferenceNetwork(**settings)


def sizes(config: AnimateAnyoneConfig) -> dict:
    return {
        "block_out_channels": list(config.widths),
        "cross_attention_dim": config.context_dim,
        "temporal_position_encoding_max_len": config.positions,
        "pose_guider_channels": list(config.pose_channels),
    }


def unseen(recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: recorded[theirs] for name, theirs in RECORDED.items() if theirs in recorded}


def evaluate(network: Any, case: Case, facts: Mapping[str, Any]) -> torch.Tensor:
    """What the network predicts, row by row: each sees the bank that is made for it."""
    rows = case["sample"].shape[0]
    timesteps = case["timestep"].float().expand(rows)
    return torch.cat([evaluate_row(network, case, facts, row, timesteps[row]) for row in range(rows)])


def evaluate_row(network: Any, case: Case, facts: Mapping[str, Any], row: int, timestep: torch.Tensor) -> torch.Tensor:
    sample, embeds = case["sample"][row : row + 1], case["encoder_hidden_states"][row : row + 1]
    frames = sample.shape[2]
    pictures = [case[name] for name in POSES if name in case]
    poses = [fold(clip[min(row, clip.shape[0] - 1)][None].float() / 255) for clip in pictures]
    given: dict[str, Any] = {"poses": poses}
    has_picture = bool(embeds.any())
    if "ref_latents" in case and (has_picture or network.config.reenactment):
        latents = case["ref_latents"]
        latent = latents[min(row, latents.shape[0] - 1)][None]
        bank = network.reference_net(latent if has_picture else torch.zeros_like(latent), embeds)
        if facts.get("fusion") == "midup":  # an option of the recorded code that nothing uses
            bank = {block: tokens[:, :0] if block[0] == "input" else tokens for block, tokens in bank.items()}
        given["bank"] = list(bank.values())
    out = network(fold(sample), timestep.expand(frames), embeds, transformer_options={}, **given)
    return unfold(out, 1)


READER = Reader(
    family=ANIMATE_ANYONE,
    network=Networks,
    needed=("sample", "encoder_hidden_states", "timestep", "output"),
    sizes=sizes,
    evaluate=evaluate,
    unseen=unseen,
)
