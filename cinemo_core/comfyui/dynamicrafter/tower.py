"""The image tower, run as the authors run it: CLIP ViT-H's tokens after its last layer, of a picture that is squashed, not cropped.

ComfyUI's `CLIPVisionEncode` prepares pictures in another way, clamped and rounded, so the tower is given pixels prepared here.
"""

import comfy.model_management
import torch

from ...errors import InputError
from ...models.dynamicrafter.image import SIZE, preprocess

NEEDED = "OpenCLIP ViT-H (the image tower of a full DynamiCrafter checkpoint, or CLIP-ViT-H-14-laion2B-s32B-b79K with Load CLIP Vision)"


def check_tower(clip_vision, width: int) -> None:
    """Raise InputError unless a CLIP_VISION is a CLIP whose tokens have this width."""
    if clip_vision is None:
        raise InputError(f"There is no CLIP vision model: the checkpoint held none; load {NEEDED}.")
    config = clip_vision.config
    found, kind = config.get("hidden_size"), config.get("model_type", "clip_vision_model")
    if (kind, found, clip_vision.image_size) != ("clip_vision_model", width, SIZE):
        raise InputError(
            f"The CLIP vision model is a {kind} with tokens of {found} channels for pictures of {clip_vision.image_size} pixels, this "
            f"DynamiCrafter model reads a clip_vision_model with {width} channels for {SIZE} pixels; load {NEEDED}."
        )


def tower_tokens(clip_vision, images: torch.Tensor) -> torch.Tensor:
    """Images [b, 3, h, w] in -1..1 -> tokens [b, l, d], float32, that of the class first. Raises InputError for NaN among them."""
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    tokens = clip_vision.model(pixel_values=preprocess(images.float()).to(clip_vision.load_device))[0]
    if not tokens.isfinite().all():
        raise InputError(
            "The CLIP vision model gave NaN or infinite values for the image; its file is damaged, or its number format too narrow."
        )
    return tokens.to(comfy.model_management.intermediate_device(), torch.float32)
