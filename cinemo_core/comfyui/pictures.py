"""People's pictures as latents of a clip: brought to its size, encoded, and checked."""

from dataclasses import dataclass

import comfy.model_management
import torch

from ..errors import InputError
from ..resize import resize_image
from ..shapes import LATENT_CHANNELS, PIXELS_PER_LATENT
from .vae import check_numbers


@dataclass(frozen=True)
class ClipSize:
    """Width and height in pixels, length in frames, and how a picture of another aspect meets them (a mode of `resize_image`)."""

    width: int
    height: int
    frames: int
    resize: str = "cover"


def fit(images: torch.Tensor, size: ClipSize) -> torch.Tensor:
    """Images [b, h, w, 3 or 4] in 0..1 at the clip's size, [b, height, width, 3]. Raises InputError as `resize_image` does."""
    return resize_image(images, size.width, size.height, size.resize)


def encode_images(vae, images: torch.Tensor, fitting: str) -> torch.Tensor:
    """Images [b, h, w, 3] in 0..1 as latents [b, 4, h / 8, w / 8], unscaled.

    fitting: which VAEs fit, for the sentence. Raises InputError for a VAE that is missing, of another latent space, or at the end of
    its numbers.
    """
    if vae is None:
        raise InputError(f"There is no VAE: the checkpoint held none; load {fitting}.")
    if vae.latent_channels != LATENT_CHANNELS:
        raise InputError(f"The VAE makes latents of {vae.latent_channels} channels, expected {LATENT_CHANNELS}: connect {fitting}.")
    count, height, width = images.shape[:3]
    latents = vae.encode(images)
    expected = (count, LATENT_CHANNELS, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    if latents.shape != expected:
        raise InputError(
            f"The VAE made a latent of shape {list(latents.shape)} from {width}x{height} pixels, expected {list(expected)}: "
            f"connect {fitting}."
        )
    check_numbers(latents, vae, "the image")
    return latents.to(comfy.model_management.intermediate_device())
