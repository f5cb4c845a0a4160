"""Small random files that workflows need besides Cinemo's own: a LoRA, a ControlNet and a Stable Diffusion 1.5 checkpoint.

ComfyUI recognises Stable Diffusion 1.5 by the width of its first level, so ControlNet and checkpoint have that level, and
the ControlNet steers a Cinemo of that width. The LoRA is of the drawn checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from cinemo_pack.cinemo_core.models.clip_text.keys import CLIPTextConfig
from cinemo_pack.tests import drawn
from cinemo_pack.tests.comfy.toolbox.files import (
    LAYERS,
    REAL_WIDTH,
    controlnet_weights,
    draw_lora,
    kohya,
    kohya_text,
    sd_weights,
    weights_of,
)
from cinemo_pack.tests.workflows.stock_files import CLIP_L, IMAGE_VAE
from safetensors.torch import save_file

LORA = "loras/your_lora.safetensors"
CONTROLNET = "controlnet/control_v11p_sd15_canny_fp16.safetensors"
SD15_CHECKPOINT = "checkpoints/v1-5-pruned-emaonly-fp16.safetensors"
WIDE_BUNDLE = "cinemo-sd15-width"  # a Cinemo checkpoint that the ControlNet fits
WIDE_TEXT = CLIPTextConfig(hidden_size=768, intermediate_size=768, num_hidden_layers=2, num_attention_heads=12, hidden_act="quick_gelu")
TEXT_LAYER = "text_model.encoder.layers.1.mlp.fc1"


def write_lora(models: Path) -> Path:
    unet, _ = draw_lora(weights_of(drawn.UNET), LAYERS, kohya)
    text, _ = draw_lora(drawn.text_weights(), {TEXT_LAYER: TEXT_LAYER}, kohya_text)
    return _save(unet | text, models / LORA)


def write_controlnet(models: Path) -> Path:
    return _save(controlnet_weights(REAL_WIDTH), models / CONTROLNET)


def write_wide_bundle(folder: Path) -> None:
    with _sizes(REAL_WIDTH, WIDE_TEXT):
        drawn.write(folder)


def write_sd15_checkpoint(models: Path) -> Path:
    with _sizes(REAL_WIDTH, CLIP_L):
        parts = {
            "model.diffusion_model": sd_weights(REAL_WIDTH),
            "cond_stage_model.transformer": drawn.text_weights(),
            "first_stage_model": drawn.vae_weights(IMAGE_VAE),
        }
    halves = {f"{part}.{name}": w.half() for part, weights in parts.items() for name, w in weights.items() if w.is_floating_point()}
    return _save(halves, models / SD15_CHECKPOINT)


@contextmanager
def _sizes(unet, text) -> Iterator[None]:
    with patch.object(drawn, "UNET", unet), patch.object(drawn, "TEXT", text):
        yield


def _save(weights: dict, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path
