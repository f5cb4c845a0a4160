"""The small recorded DynamiCrafter as a MODEL, and its recorded conditioning, whose image tokens are those that a projector made."""

from collections.abc import Callable

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.conditioning import ImageCondition, attach_image
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
from cinemo_pack.cinemo_core.models.dynamicrafter.tokens import FIRST
from cinemo_pack.tests.goldens import meta
from cinemo_pack.tests.goldens.rule import state_dict
from safetensors.torch import save_file

SCALE = 0.18215
TEXT = 77
PER_FRAME = 16
GOLDEN = "dynamicrafter/unet_tiny_a.cases"


@pytest.fixture(scope="session")
def load_tiny(tmp_path_factory) -> Callable:
    """`load_tiny(variant)`: the recorded UNet as that variant. Image tokens pass through its projector as they are."""
    folder = tmp_path_factory.mktemp("tiny")
    projector = {
        f"image_proj_model.{name}": torch.zeros(shape)
        for name, shape in {
            "latents": (1, 256, 40),
            "proj_in.weight": (40, 40),
            "proj_in.bias": (40,),
            "layers.0.0.norm1.weight": (40,),
            "layers.0.0.norm1.bias": (40,),
            "layers.0.0.norm2.weight": (40,),
            "layers.0.0.norm2.bias": (40,),
            "layers.0.0.to_q.weight": (64, 40),
            "layers.0.0.to_kv.weight": (128, 40),
            "layers.0.0.to_out.weight": (40, 64),
            "layers.0.1.0.weight": (40,),
            "layers.0.1.0.bias": (40,),
            "layers.0.1.1.weight": (80, 40),
            "layers.0.1.3.weight": (40, 80),
            "proj_out.weight": (40, 40),
            "proj_out.bias": (40,),
            "norm_out.weight": (40,),
            "norm_out.bias": (40,),
        }.items()
    }

    def load(variant: str):
        weights = meta(GOLDEN)["weights_learnable" if variant == "256" else "weights"]
        path = folder / f"{'gated' if variant == '256' else 'plain'}.safetensors"
        if not path.exists():
            save_file(state_dict(weights["keys"], weights["weight_seed"], weights["checksum"]) | projector, path)
        model = load_unet(str(path), "fp32", DYNAMICRAFTER, {"variant": variant})
        model.model.diffusion_model.image_proj_model = torch.nn.Identity()
        return model

    return load


def recorded_condition(context: torch.Tensor, latents: torch.Tensor, fs: int, rule: str = FIRST) -> list:
    """A CONDITIONING of a recorded context [1, 77 + l, d], text before image tokens, and condition latents [1, 4, f, h, w] (scaled)."""
    text, tokens = context[:, :TEXT], context[:, TEXT:]
    missing = 16 * PER_FRAME - tokens.shape[1]  # a projector always makes those of 16 frames
    tower = torch.cat([tokens, tokens.new_zeros(1, missing, tokens.shape[2])], dim=1)
    image = ImageCondition(latents[0].transpose(0, 1) / SCALE, tower, fs, rule)
    return attach_image(image, [[text, {}]])[0]


def frames_of(video: torch.Tensor) -> torch.Tensor:
    return video[0].transpose(0, 1).contiguous()  # 1 c f h w -> f c h w
