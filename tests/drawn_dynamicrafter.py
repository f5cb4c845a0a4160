"""A whole DynamiCrafter checkpoint of small width under the official names, its weights drawn by a rule; see `drawn`.

Its parts have the sizes of heads that the published one has, for these cannot be read from a file.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..cinemo_core.models.clip_text.keys import MAX_TOKENS, VOCABULARY
from ..cinemo_core.models.dynamicrafter import toon
from ..cinemo_core.models.dynamicrafter.config import PROJECTOR, DynamiCrafterConfig
from ..cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
from ..cinemo_core.models.dynamicrafter.resampler import ResamplerConfig
from ..cinemo_core.models.dynamicrafter.schedule import RESCALED, TIMESTEPS, Schedule
from ..cinemo_core.models.sd_unet.keys import LDM_PREFIX
from ..cinemo_core.models.temporal_vae import keys as vae
from .drawn import IMAGE_VAE, draw

TEXT_WIDTH, IMAGE_WIDTH = 64, 80
LAYERS, PATCH, IMAGE_SIZE = 3, 32, 224
UNET = DynamiCrafterConfig(
    in_channels=8,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 1),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1),
    context_dim=TEXT_WIDTH,
    num_head_channels=16,
    gated=False,
    projector=ResamplerConfig(IMAGE_WIDTH, dim=64, inner=64, hidden=128, output_dim=TEXT_WIDTH, queries=32, depth=1),
)
GATED = replace(UNET, gated=True, variant="256")
PARTS = ("network", "vae", "text", "image", "schedule")
# Names used here -> official, in this order; what follows a temporal transformer moves by one.
OFFICIAL = (
    (r"^middle_block\.2\.", "middle_block.3."),
    (r"^middle_block\.1\.temporal\.", "middle_block.2."),
    (r"^((?:in|out)put_blocks\.\d+)\.1\.temporal\.", r"\1.2."),
    (r"^(output_blocks\.\d+)\.2\.conv\.", r"\1.3.conv."),
)


def official_name(name: str) -> str:
    if name.startswith(PROJECTOR):
        return name.replace("latents.weight", "latents")
    name = name.removesuffix(".weight") if name.endswith(".alpha.weight") else name
    for pattern, replacement in OFFICIAL:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return LDM_PREFIX + renamed
    return LDM_PREFIX + name


def own_projector(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a projector as its module names them, from official names with or without prefix."""
    plain = {name.removeprefix(PROJECTOR): tensor for name, tensor in tensors.items()}
    return {"latents.weight": plain.pop("latents")} | plain


def resblocks(width: int) -> dict[str, tuple[int, ...]]:
    """Of an OpenCLIP tower, without biases."""
    block = {"attn.in_proj": (3 * width, width), "attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width)}
    block |= {"mlp.c_proj": (width, 4 * width), "ln_1": (width,), "ln_2": (width,)}
    return {f"transformer.resblocks.{i}.{name}": shape for i in range(LAYERS) for name, shape in block.items()}


def with_biases(modules: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    out = {}
    for name, shape in modules.items():
        joint = "_" if name.endswith("in_proj") else "."
        out |= {f"{name}{joint}weight": shape, f"{name}{joint}bias": shape[:1]}
    return out


def text_shapes() -> dict[str, tuple[int, ...]]:
    modules = with_biases(resblocks(TEXT_WIDTH) | {"ln_final": (TEXT_WIDTH,)})
    tables = {"token_embedding.weight": (VOCABULARY, TEXT_WIDTH), "positional_embedding": (MAX_TOKENS, TEXT_WIDTH)}
    return modules | tables | {"text_projection": (TEXT_WIDTH, TEXT_WIDTH)}


def image_shapes() -> dict[str, tuple[int, ...]]:
    modules = with_biases(resblocks(IMAGE_WIDTH) | {"ln_pre": (IMAGE_WIDTH,), "ln_post": (IMAGE_WIDTH,)})
    tokens = (IMAGE_SIZE // PATCH) ** 2 + 1
    tables = {"positional_embedding": (tokens, IMAGE_WIDTH), "class_embedding": (IMAGE_WIDTH,), "proj": (IMAGE_WIDTH, TEXT_WIDTH)}
    return modules | tables | {"conv1.weight": (IMAGE_WIDTH, 3, PATCH, PATCH)}


def network(config: DynamiCrafterConfig = UNET) -> dict[str, Tensor]:
    """UNet and projector; those of a model with gates have the older name of the motion embedding."""
    tensors = {official_name(name): draw(name, shape) for name, shape in DYNAMICRAFTER.shapes(config).items()}
    return {name.replace("fps_embedding", "framestride_embed") if config.gated else name: t for name, t in tensors.items()}


def toon_vae() -> dict[str, Tensor]:
    return {name: draw(name, shape) for name, shape in toon.expected_shapes(IMAGE_VAE).items()}


def schedule(base: float) -> dict[str, Tensor]:
    """Two of the buffers that the official class saves."""
    scales = Schedule(v=True, base=base).scales()
    return {"betas": torch.linspace(1e-3, 1e-2, TIMESTEPS), "scale_arr": torch.cat([scales, scales[-1:].expand(RESCALED)]).float()}


def checkpoint(parts: Iterable[str] = PARTS, config: DynamiCrafterConfig = UNET, base: float = 0.7) -> dict[str, Tensor]:
    """These parts, all half precision but the schedule."""
    make = {
        "network": lambda: network(config),
        "vae": lambda: {f"first_stage_model.{entry.ldm}": draw(entry.ldm, entry.shape) for entry in vae.entries(IMAGE_VAE)},
        "text": lambda: {f"cond_stage_model.model.{name}": draw(name, shape) for name, shape in text_shapes().items()},
        "image": lambda: {f"embedder.model.visual.{name}": draw(name, shape) for name, shape in image_shapes().items()},
        "schedule": lambda: schedule(base),
    }
    return {name: tensor for part in parts for name, tensor in make[part]().items()}
