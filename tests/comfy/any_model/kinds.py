"""One tiny model of random weights of each kind that ComfyUI builds clips with, and what its sampler must start from.

`start` is written from the papers' forward processes, not read from ComfyUI: z0 and noise to the state before the first step,
with z0 noised to LEVEL.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch

LEVEL = 900  # of noise, of 999
TEXT_TOKENS = 7

State = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SD_UNET = {
    "use_checkpoint": False,
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 0],
    "transformer_depth_output": [1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 24,
}
SD15 = SD_UNET | {"in_channels": 4, "num_heads": 2, "num_head_channels": -1, "use_linear_in_transformer": False}
SVD = SD_UNET | {"in_channels": 8, "model_channels": 64, "num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True}
SVD |= {"adm_in_channels": 768, "num_classes": "sequential", "use_temporal_attention": True, "use_temporal_resblock": True}
SVD |= {"extra_ff_mix_layer": True, "merge_strategy": "learned_with_images", "disable_temporal_crossattention": False}
SVD |= {"video_kernel_size": [3, 1, 1], "max_ddpm_temb_period": 10000}
WAN = {"image_model": "wan2.1", "dim": 48, "num_heads": 2, "ffn_dim": 32, "num_layers": 1, "freq_dim": 32, "text_dim": 24, "text_len": 8}
LTXV = {"image_model": "ltxv", "num_layers": 1, "attention_head_dim": 12, "num_attention_heads": 4, "caption_channels": 24}
LTXV |= {"cross_attention_dim": 48}
HUNYUAN = {"image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "vec_in_dim": 20, "context_in_dim": 24, "hidden_size": 48}
HUNYUAN |= {"mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 8, 8], "theta": 256, "qkv_bias": True}
HUNYUAN |= {"patch_size": [1, 2, 2], "guidance_embed": True, "byt5": False, "meanflow": False, "use_cond_type_embedding": False}
HUNYUAN |= {"vision_in_dim": None, "meanflow_sum": False}


def discrete(z0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Stable Diffusion 1.5: betas linear in the square root, from 0.00085 to 0.012."""
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    return (alphas[LEVEL].sqrt() * z0 + (1 - alphas[LEVEL]).sqrt() * noise) / alphas[-1].sqrt()


def edm(z0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """SVD: sigma from 0.002 to 700, evenly in its logarithm."""
    sigma = math.exp(math.log(0.002) + LEVEL / 999 * math.log(700 / 0.002))
    return (z0 + sigma * noise) / math.sqrt(1 + sigma**2) * math.sqrt(1 + 700**2)


def flow(shift: float) -> State:
    """Rectified flow with a schedule that is shifted towards noise."""
    share = LEVEL / 999
    sigma = shift * share / (1 + (shift - 1) * share)
    return lambda z0, noise: (1 - sigma) * z0 + sigma * noise


@dataclass(frozen=True)
class Kind:
    """supported: the class of `comfy.supported_models`. latent: the shape that its conditioning node makes. extra: of a conditioning."""

    supported: str
    unet_config: dict[str, Any]
    latent: tuple[int, ...]
    start: State
    extra: dict[str, Any] | None = None

    def model(self) -> comfy.model_patcher.ModelPatcher:
        config = getattr(comfy.supported_models, self.supported)(self.unet_config | {"dtype": torch.float32})
        model = config.get_model({})
        generator = torch.Generator().manual_seed(7)
        for parameter in model.diffusion_model.parameters():
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
        device = comfy.model_management.get_torch_device()
        return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)

    def conditioning(self) -> list:
        text = torch.randn(1, TEXT_TOKENS, 24, generator=torch.Generator().manual_seed(3))
        return [[text, self.extra or {}]]


KINDS = {
    "SD1.5": Kind("SD15", SD15, (5, 4, 6, 8), discrete),
    "SVD": Kind("SVD_img2vid", SVD, (5, 4, 6, 8), edm),
    "Wan 2.1 i2v": Kind(
        "WAN21_I2V",
        WAN | {"model_type": "i2v", "in_dim": 36, "out_dim": 16},
        (1, 16, 3, 6, 8),
        flow(8.0),
    ),
    "Wan 2.2 i2v": Kind("WAN21_T2V", WAN | {"model_type": "t2v", "in_dim": 36, "out_dim": 16}, (2, 16, 3, 6, 8), flow(8.0)),
    "Wan 2.2 5B": Kind("WAN22_T2V", WAN | {"model_type": "t2v", "in_dim": 48, "out_dim": 48}, (1, 48, 3, 4, 6), flow(8.0)),
    "LTXV": Kind("LTXV", LTXV, (1, 128, 3, 4, 6), lambda z0, noise: _flux(2.37, z0, noise), {"attention_mask": torch.ones(1, TEXT_TOKENS)}),
    "HunyuanVideo": Kind("HunyuanVideo", HUNYUAN, (1, 16, 3, 4, 6), flow(7.0), {"pooled_output": torch.ones(1, 20)}),
    "HunyuanVideo i2v": Kind(
        "HunyuanVideoI2V", HUNYUAN | {"in_channels": 33}, (1, 16, 3, 4, 6), flow(7.0), {"pooled_output": torch.ones(1, 20)}
    ),
}


def _flux(mu: float, z0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The shift of Flux, which LTXV has too: exp(mu) / (exp(mu) + 1 / t - 1)."""
    sigma = math.exp(mu) / (math.exp(mu) + 999 / LEVEL - 1)
    return (1 - sigma) * z0 + sigma * noise
