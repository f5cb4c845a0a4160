"""Loads a DynamiCrafter checkpoint: its MODEL, and CLIP, VAE and CLIP_VISION as ComfyUI's own objects where the file holds them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE

from ...models.dynamicrafter.checkpoint import IMAGE_HEAD, TEXT_HEAD, Parts, check_widths, is_tooncrafter, split
from ...models.dynamicrafter.family import DYNAMICRAFTER
from ...models.dynamicrafter.variants import AUTO, Taken, take_variant
from ...models.recognise import recognise
from ..absent import Absent
from ..files import read_weights
from ..loading import load_unet
from ..open_clip import image_width, make_clip, make_clip_vision, text_width
from ..vae import make_vae
from .toon import make_toon_vae

TEXT_REMEDY = "load Stable Diffusion 2.1's (OpenCLIP ViT-H-14) with Load CLIP"
IMAGE_REMEDY = "load OpenCLIP's ViT-H-14 (CLIP-ViT-H-14-laion2B-s32B-b79K) with Load CLIP Vision"
VAE_REMEDY = "load one of Stable Diffusion 1.x or 2.x with Load VAE"


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint gave. A part that it does not hold is an `Absent`; report: which variant was taken and what is missing."""

    model: ModelPatcher
    clip: Any
    vae: Any
    clip_vision: Any
    report: str


def load_checkpoint(path: str, weight_dtype: str = "default", variant: str = AUTO) -> Loaded:
    """Everything that the file at `path` holds.

    variant: a name of `VARIANTS`, or "auto" for what the file says. Raises CheckpointError, before a model is made, for a file that
    does not hold a DynamiCrafter network with its image projector, for parts that do not fit each other, and for a variant that
    the file contradicts.
    """
    state_dict = read_weights(path)
    _, _, config = recognise(path, state_dict, DYNAMICRAFTER)
    taken = take_variant(variant, config.gated, state_dict, path)
    parts = split(state_dict)
    check_widths(text_width(parts.text), image_width(parts.image), config, path)

    name = Path(path).name
    clip: Any = Absent(f"{name} holds no text encoder; {TEXT_REMEDY}.")
    vae: Any = Absent(f"{name} holds no VAE; {VAE_REMEDY}.")
    clip_vision: Any = Absent(f"{name} holds no image encoder; {IMAGE_REMEDY}.")
    if parts.text:
        clip = make_clip(parts.text, TEXT_HEAD, f"The text tower in {path}")
        clip.patcher.cached_patcher_init = (reload_clip, (path,))
    if parts.vae:
        vae = _make_vae(parts.vae, path)
        vae.patcher.cached_patcher_init = (reload_vae, (path,))
    if parts.image:
        clip_vision = make_clip_vision(parts.image, IMAGE_HEAD, f"The image tower in {path}")
        clip_vision.patcher.cached_patcher_init = (reload_clip_vision, (path,))
    model = load_unet(path, weight_dtype, DYNAMICRAFTER, {"variant": taken.variant.name})
    return Loaded(model, clip, vae, clip_vision, report(name, taken, parts))


def report(name: str, taken: Taken, parts: Parts) -> str:
    """Which variant was taken and why, what it was trained for, and what the file lacks; a line each."""
    variant = taken.variant
    lines = [
        f"{name}: {variant.full_name}, {taken.reason}.",
        f"Trained at {variant.width}x{variant.height}; its motion number is the {variant.motion}, by default {variant.default_fs}.",
    ]
    remedies = [(parts.text, "CLIP", TEXT_REMEDY), (parts.vae, "VAE", VAE_REMEDY), (parts.image, "CLIP_VISION", IMAGE_REMEDY)]
    if is_tooncrafter(parts.vae):
        lines.append("Its VAE reads the first and the last picture: decode with Cinemo ToonCrafter Decode.")
    lines += [f"The file holds no {output}; {remedy}." for part, output, remedy in remedies if not part]
    return "\n".join(lines)


def _make_vae(tensors: dict, path: str) -> VAE:
    make = make_toon_vae if is_tooncrafter(tensors) else make_vae
    return make(tensors, f"The VAE in {path}")


def reload_clip(path: str, disable_dynamic: bool = False) -> ModelPatcher:
    """The patcher of a part read from disk again, as ComfyUI asks for it."""
    return make_clip(split(read_weights(path)).text, TEXT_HEAD, f"The text tower in {path}", disable_dynamic).patcher


def reload_vae(path: str, disable_dynamic: bool = False) -> ModelPatcher:
    """The same for the VAE, which is of ComfyUI's current kind."""
    return _make_vae(split(read_weights(path)).vae, path).patcher


def reload_clip_vision(path: str, disable_dynamic: bool = False) -> ModelPatcher:
    return make_clip_vision(split(read_weights(path)).image, IMAGE_HEAD, f"The image tower in {path}").patcher
