"""The parts that are used, not trained: the VAE that makes latents, and the tokenizer."""

import hashlib
import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files.checkpoint import compare, read_state_dict, shapes_of
from ..files.folder import find_weights
from ..models.clip_text.keys import MAX_TOKENS
from ..models.temporal_vae import keys as vae_keys

SCALING_FACTOR = 0.18215


# Attention as older versions of diffusers named it.
OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def load_vae(folder: Path) -> Any:
    """The VAE of a folder in diffusers layout, image or temporal, frozen, in float32; its sizes are read from its tensors.

    Raises CheckpointError for a folder without weights, and for those of another model.
    """
    import diffusers

    weights = find_weights(folder)
    state_dict = {rename_attention(name): tensor.float() for name, tensor in read_state_dict(weights).items()}
    config = vae_keys.read_config(shapes_of(state_dict))
    table = {entry.diffusers: entry.diffusers_shape for entry in vae_keys.entries(config)}
    state_dict = {name: t.reshape(table[name]) if t.numel() == math.prod(table.get(name, ())) else t for name, t in state_dict.items()}
    compare(shapes_of(state_dict), table, f"The VAE {weights}")
    sizes = {"block_out_channels": config.widths, "layers_per_block": config.num_res_blocks, "latent_channels": config.latent_channels}
    levels = len(config.widths)
    if config.temporal:
        vae = diffusers.AutoencoderKLTemporalDecoder(down_block_types=("DownEncoderBlock2D",) * levels, **sizes)
    else:
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
        vae = diffusers.AutoencoderKL(**blocks, **sizes)
    vae.load_state_dict(state_dict)
    return vae.eval().requires_grad_(False)


def check_temporal(folder: Path) -> None:
    """Raise CheckpointError or InputError unless a folder holds a VAE with a temporal decoder."""
    weights = find_weights(folder)
    if not vae_keys.read_config(shapes_of(read_state_dict(weights))).temporal:
        raise InputError(f"{weights} is a VAE for images; give the one with the temporal decoder, or leave model.vae_temporal_decoder out.")


def rename_attention(name: str) -> str:
    for old, new in OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


@torch.no_grad()
def encode(vae: Any, frames: Tensor, at_once: int = 16) -> Tensor:
    """Pixels uint8 [n, 3, h, w] as scaled latents [n, 4, h / 8, w / 8], `at_once` frames at a time.

    The mode of the posterior, not a sample: it is what ComfyUI's VAE gives for the input image at inference.
    """
    parts = frames.split(at_once)
    return torch.cat([vae.encode(to_unit(part, vae)).latent_dist.mode() for part in parts]) * SCALING_FACTOR


@torch.no_grad()
def decode(vae: Any, latents: Tensor, at_once: int = 16) -> Tensor:
    """Scaled latents [n, 4, h, w] of one clip as pixels uint8 [n, 3, 8 h, 8 w] on the CPU, `at_once` frames at a time."""
    from inspect import signature

    temporal = "num_frames" in signature(vae.decode).parameters
    parts = (latents.to(vae.dtype) / SCALING_FACTOR).split(at_once)
    pixels = torch.cat([vae.decode(part, **({"num_frames": len(part)} if temporal else {})).sample for part in parts])
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8)


def to_unit(frames: Tensor, vae: Any) -> Tensor:
    """uint8 as numbers in -1..1 on the device and in the type of the VAE."""
    return frames.to(vae.device).to(vae.dtype) / 127.5 - 1


def fingerprint(folder: Path) -> str:
    """SHA-256 of a part's weights."""
    with find_weights(folder).open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Tokenizer:
    """CLIP's tokenizer from a folder, or from the copy that ComfyUI carries."""

    def __init__(self, folder: str) -> None:
        from transformers import CLIPTokenizer

        self.folder = Path(folder) if folder else find_tokenizer()
        if not any(os.path.isfile(self.folder / name) for name in ("vocab.json", "tokenizer.json")):
            raise InputError(f"{self.folder} holds no CLIP tokenizer (vocab.json, merges.txt); correct model.tokenizer.")
        self.tokenizer = CLIPTokenizer.from_pretrained(str(self.folder))

    def __call__(self, captions: list[str]) -> Tensor:
        """Token ids int64 [n, 77], filled up with the end token as ComfyUI does; longer captions are cut."""
        options = {"padding": "max_length", "max_length": MAX_TOKENS, "truncation": True, "return_tensors": "pt"}
        return self.tokenizer(captions, **options).input_ids


def find_tokenizer() -> Path:
    """The tokenizer folder inside ComfyUI: the importable one, or the one whose custom_nodes hold this pack.

    Raises InputError if there is none.
    """
    found = importlib.util.find_spec("comfy")
    packages = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    for package in (*packages, Path(__file__).resolve().parents[4] / "comfy"):
        if os.path.isdir(package / "sd1_tokenizer"):
            return package / "sd1_tokenizer"
    raise InputError("No ComfyUI was found, whose CLIP tokenizer would be used; give a tokenizer folder as model.tokenizer.")
