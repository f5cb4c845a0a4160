"""Reference numbers of the authors' code, see README.md next to this file."""

import json
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, torch.Tensor]:
    """Tensors of the golden `name` (the file without .safetensors)."""
    from safetensors.torch import load_file

    return load_file(FOLDER / f"{name}.safetensors")


def tiny_a_state_dict() -> dict[str, torch.Tensor]:
    """The weights of the small network in the published (diffusers) layout, as float32; they are stored as float16, exactly."""
    return {key: tensor.float() for key, tensor in load("unet_tiny_a.weights").items()}


def meta(name: str) -> dict:
    """Facts about the golden `name`: sizes, seeds, rounding floors (its .json)."""
    return json.loads((FOLDER / f"{name}.json").read_text())
