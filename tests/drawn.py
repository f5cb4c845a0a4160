"""A whole Cinemo checkpoint of small width, in the published folder layout, its weights drawn by a rule.

It animates nothing: it exists to run every component and every file format of the published checkpoint. Each tensor is drawn
by a generator seeded with the CRC-32 of its name, so every machine writes the same values: uniform numbers from 24 random
bits, scaled by the usual 1 / sqrt(fan-in), rounded to float16. The tokenizer is left out: it is CLIP's, which ComfyUI
carries.
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..cinemo_core.models.cinemo.config import CinemoConfig
from ..cinemo_core.models.cinemo.diffusers_config import diffusers_config
from ..cinemo_core.models.cinemo.keys import ROTARY_SUFFIX, TABLE
from ..cinemo_core.models.cinemo.positions import rotary_frequencies
from ..cinemo_core.models.cinemo.skeleton import expected_shapes
from ..cinemo_core.models.clip_text import keys as clip_text
from ..cinemo_core.models.temporal_vae import keys as vae

SEED = 20240611
TEXT_WIDTH = 64
UNET = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5, 1.5, 2),
    num_res_blocks=(1, 1, 1, 1),
    transformer_depth=(1, 1, 1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 1, 0, 0),
    context_dim=TEXT_WIDTH,
    num_heads=2,
    motion_dim=32,
)
TEXT = clip_text.CLIPTextConfig(
    hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu"
)
VAE_WIDTHS = (32, 64, 64, 64)
IMAGE_VAE = vae.VAEConfig(VAE_WIDTHS, num_res_blocks=2, temporal=False)
TEMPORAL_VAE = vae.VAEConfig(VAE_WIDTHS, num_res_blocks=2, temporal=True)


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of this name and shape, float16: norms near 1, biases near 0, weights of variance 1 / fan-in."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ SEED)
    uniform = torch.rand(shape, generator=generator) * 2 - 1
    if len(shape) == 1:
        is_norm = name.endswith(".weight")
        return (uniform * 0.2 + 1 if is_norm else uniform * 0.1).half()
    return (uniform * math.sqrt(3 / math.prod(shape[1:]))).half()


def unet_weights() -> dict[str, Tensor]:
    """The UNet in diffusers layout, with a copy of the rotary buffer in each temporal attention as the published file has."""
    shapes = expected_shapes(UNET)
    names = TABLE.to_diffusers(shapes, UNET)
    weights = {names[ldm]: draw(names[ldm], shape) for ldm, shape in shapes.items()}
    blocks = sorted({name.partition("attn_temp.")[0] for name in weights if "attn_temp." in name})
    return weights | {block + ROTARY_SUFFIX: rotary_frequencies() for block in blocks}


def vae_weights(config: vae.VAEConfig) -> dict[str, Tensor]:
    return {entry.diffusers: draw(entry.diffusers, entry.diffusers_shape) for entry in vae.entries(config)}


def text_weights() -> dict[str, Tensor]:
    """The text encoder as transformers 4 wrote it, with its buffer of position ids."""
    weights = {name: draw(name, shape) for name, shape in clip_text.shapes(TEXT).items()}
    return weights | {"text_model.embeddings.position_ids": torch.arange(clip_text.MAX_TOKENS)[None]}


def write(folder: Path) -> Path:
    """Write the checkpoint folder, with the file names and the slips of the published one, and give it back."""
    parts: dict[str, dict[str, Tensor]] = {
        "unet/diffusion_pytorch_model.bin": unet_weights(),
        "vae/diffusion_pytorch_model.bin": vae_weights(IMAGE_VAE),
        "vae_temporal_decoder/diffusion_pytorch_model.safetensors": vae_weights(TEMPORAL_VAE),
        "text_encoder/pytorch_model.bin": text_weights(),
    }
    for name, weights in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(weights, path, metadata={"format": "pt"})
        else:
            torch.save(weights, path)
    for name, config in configs().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def configs() -> dict[str, Mapping[str, Any]]:
    """The JSON files of the folder by name."""
    shared = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": VAE_WIDTHS,
        "layers_per_block": 2,
        "sample_size": 256,
    }
    return {
        # The published index names a safety checker that is not there and omits the temporal decoder.
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.2.2",
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "scheduler": ["diffusers", "PNDMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        "unet/config.json": {"_class_name": "UNetMidBlock3DCrossAttn", "sample_size": 64} | diffusers_config(UNET),
        "vae/config.json": {"_class_name": "AutoencoderKL", "act_fn": "silu", "norm_num_groups": 32} | shared,
        "vae_temporal_decoder/config.json": {"_class_name": "AutoencoderKLTemporalDecoder", "scaling_factor": 0.18215} | shared,
        "text_encoder/config.json": {"architectures": ["CLIPTextModel"], "layer_norm_eps": 1e-5} | TEXT.json_config(),
        "scheduler/scheduler_config.json": {
            "_class_name": "PNDMScheduler",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "clip_sample": False,
            "num_train_timesteps": 1000,
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
            "steps_offset": 1,
        },
    }
