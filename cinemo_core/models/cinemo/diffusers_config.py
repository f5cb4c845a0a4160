"""The unet/config.json of the published layout: what a configuration looks like there, and whether a file agrees with it."""

from pathlib import Path
from typing import Any

from ...files.folder import check_options, read_config
from ..sd_unet.config import NORM_GROUPS
from .config import CinemoConfig


def diffusers_config(config: CinemoConfig) -> dict[str, Any]:
    """The options of unet/config.json that describe this architecture, `attention_head_dim` being the number of heads."""
    return {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "center_input_sample": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "only_cross_attention": False,
        "block_out_channels": list(config.widths),
        "layers_per_block": config.num_res_blocks[0],
        "downsample_padding": 1,
        "mid_block_scale_factor": 1,
        "act_fn": "silu",
        "norm_num_groups": NORM_GROUPS,
        "norm_eps": 1e-5,
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": config.num_heads,
        "dual_cross_attention": False,
        "use_linear_projection": False,
        "addition_embed_type": "motion_ids",
        "addition_time_embed_dim": config.motion_dim,
        "resnet_time_scale_shift": "default",
        "resnet_out_scale_factor": 1.0,
    }


def check_diffusers_config(weights: Path, config: CinemoConfig) -> None:
    """Raise CheckpointError if the config.json next to a UNet contradicts its weights or asks for an unknown architecture.

    Only next to weights of the standard name: another file may be in a folder with the config.json of another model.
    """
    if weights.name.startswith("diffusion_pytorch_model"):
        expected = diffusers_config(config)
        found = read_config(weights.parent)
        for option in ("attention_head_dim", "layers_per_block"):
            if isinstance(found.get(option), list):  # one per level
                expected[option] = [expected[option]] * len(config.channel_mult)
        check_options(weights.parent / "config.json", found, expected)
