"""The networks behind the two similarities: CLIP for CLIPSIM, DreamSim for PIC. One clip at a time, frames as the batch.

CLIP comes from transformers, DreamSim from its own package or from a TorchScript file of its `embed`. Both are read from a
local path and never from a hub.
"""

import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import InputError
from .similarity import mean_cosine
from .torchscript import call, load, reason_of, unlike
from .weights import NETWORKS

DREAMSIM_SIZE = 224


class DreamSimKind(NamedTuple):
    """A folder of the dreamsim package: the model type, and what of it must be there so that nothing is downloaded."""

    name: str
    files: tuple[str, ...]


# The DINO branch is code and weights of torch.hub, which the package keeps in the same folder.
DINO = ("dino_vitb16_pretrain.pth", "facebookresearch_dino_main", "checkpoints")
DREAMSIM = (
    DreamSimKind("ensemble", ("ensemble_lora", *DINO, "clip_vitb16_pretrain.pth.tar", "open_clip_vitb16_pretrain.pth.tar")),
    DreamSimKind("dino_vitb16", ("dino_vitb16_single_lora", *DINO)),
    DreamSimKind("clip_vitb32", ("clip_vitb32_single_lora", "clip_vitb32_pretrain.pth.tar")),
    DreamSimKind("open_clip_vitb32", ("open_clip_vitb32_single_lora", "open_clip_vitb32_pretrain.pth.tar")),
)


class TextSimilarity:
    """CLIPSIM of a clip: mean cosine of CLIP's embeddings of the frames with that of the caption.

    Raises CheckpointError for a folder that transformers cannot read as CLIP.
    """

    name = "clip"

    def __init__(self, folder: Path, device: torch.device):
        from safetensors import SafetensorError
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        self.device = device
        try:
            loaded: Any = CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
            self.model, missing = loaded[0].eval().to(device), loaded[1]["missing_keys"]
            self.processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise unlike(self.name, folder, f"cannot be read ({reason_of(error)})") from error
        if missing:  # transformers put random numbers there, with no more than a warning
            raise unlike(self.name, folder, f"lacks {len(missing)} tensors, {min(missing)} among them")
        known, expected = len(self.tokenizer), self.model.config.text_config.vocab_size
        if known != expected:
            raise unlike(self.name, folder, f"has a tokenizer of {known} words for a text tower of {expected}")
        self.width = self.model.config.projection_dim

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray, caption: str) -> float:
        """frames: uint8 [f, h, w, 3]. A caption longer than CLIP's 77 tokens is cut."""
        pixels = self.processor(images=list(frames), return_tensors="pt").to(self.device)
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(caption, truncation=True, max_length=length, return_tensors="pt").to(self.device)
        output = self.model(**pixels, **tokens)
        return mean_cosine(output.text_embeds[0].float().cpu().numpy(), output.image_embeds.float().cpu().numpy())


class InputConformity:
    """PIC of a clip: mean of 1 - DreamSim distance between the input image and each frame.

    path: a folder that the dreamsim package has filled, or a TorchScript file that embeds [n, 3, 224, 224] in 0..1 to
    [n, d]. Raises InputError for a folder that lacks a part or a package that is not there, CheckpointError for a file that
    is something else.
    """

    name = "dreamsim"

    def __init__(self, path: Path, device: torch.device):
        self.path = path
        self.device = device
        self.embed = _dreamsim_package(path, device) if os.path.isdir(path) else load(self.name, path, device)
        self.width = self._embed([np.zeros((8, 8, 3), np.uint8)] * 2).shape[1]

    def __call__(self, image: np.ndarray, frames: np.ndarray) -> float:
        """image: uint8 [h, w, 3]; frames: uint8 [f, h, w, 3]."""
        embedded = self._embed([image, *frames])
        return mean_cosine(embedded[0], embedded[1:])

    @torch.inference_mode()
    def _embed(self, images: list[np.ndarray]) -> np.ndarray:
        batch = torch.stack([_square(image) for image in images]).to(self.device)
        return call(self.name, self.path, self.embed, batch).float().cpu().numpy()


def _dreamsim_package(folder: Path, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The package's model, from a folder that is whole: else the package would download the rest."""
    kind = next((kind for kind in DREAMSIM if os.path.exists(folder / kind.files[0])), DREAMSIM[0])
    missing = [file for file in kind.files if not os.path.exists(folder / file)]
    if missing:
        raise InputError(
            f"{folder} is not a whole DreamSim folder ({kind.name}), {', '.join(missing)} missing: let the dreamsim package fill it "
            f"where there is a network, from {NETWORKS['dreamsim'].where}, or give a TorchScript file."
        )
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise InputError(
            f"PIC from a folder needs the dreamsim package, which cannot be imported ({error}): "
            "install it with pip install dreamsim, or give a TorchScript file (docs/evaluation.md)."
        ) from error
    try:
        model, _ = dreamsim(pretrained=True, device=str(device), cache_dir=str(folder), dreamsim_type=kind.name)
    except (OSError, ValueError, RuntimeError, KeyError, UnpicklingError) as error:
        raise unlike("dreamsim", folder, f"cannot be read ({reason_of(error)})") from error
    return model.embed


def _square(image: np.ndarray) -> torch.Tensor:
    """As DreamSim's own preparation: bicubic to 224x224, values in 0..1, [3, 224, 224]."""
    from PIL import Image

    picture = Image.fromarray(image).resize((DREAMSIM_SIZE, DREAMSIM_SIZE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255  # h w c -> c h w
