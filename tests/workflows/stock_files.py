"""The three single files that the stock workflow loads, of random weights like the drawn checkpoint's.

ComfyUI's own loaders know text encoder and VAE at the widths of Stable Diffusion 1.x only, so these two have them.
"""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from cinemo_pack.cinemo_core.models.clip_text.keys import CLIPTextConfig
from cinemo_pack.cinemo_core.models.temporal_vae.keys import VAEConfig
from cinemo_pack.tests import drawn

CLIP_L = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu")
IMAGE_VAE = VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=False)


def write_stock_files(models: Path) -> list[Path]:
    """Write the UNet, the text encoder and the image VAE into the folders of `models`, under the names in the workflow."""
    with patch.object(drawn, "UNET", replace(drawn.UNET, context_dim=CLIP_L.hidden_size)), patch.object(drawn, "TEXT", CLIP_L):
        parts = {
            "diffusion_models/cinemo.pt": drawn.unet_weights(),
            "text_encoders/cinemo_text_encoder.bin": drawn.text_weights(),
            "vae/cinemo_vae.bin": drawn.vae_weights(IMAGE_VAE),
        }
    for name, weights in parts.items():
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights, models / name)
    return [models / name for name in parts]
