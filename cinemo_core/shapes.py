"""Checks of what people connect and type: one clear sentence before any work starts.

A clip latent is [f, 4, h, w], frames in the batch axis, at an eighth of the video's size. An image is [b, h, w, c] in 0..1.
"""

import torch

from .errors import InputError

LATENT_CHANNELS = 4
PIXELS_PER_LATENT = 8
MIN_SIDE = 16
MIN_FRAMES = 2


def check_clip_latent(latent: torch.Tensor, family: str = "Cinemo", maker: str = "Cinemo Motion Conditioning") -> None:
    """Raise InputError unless `latent` is one clip: [f, 4, h, w] with at least 2 frames, none of its sides empty.

    family, maker: whose clip, and the node that makes one, for the sentence.
    """
    check_latent(latent, family, maker)
    if latent.shape[0] < MIN_FRAMES:
        raise InputError(
            f"The latent has {latent.shape[0]} frame(s), a clip of {family} has {MIN_FRAMES} or more; make the latent with {maker}, "
            "or with VAE Encode on the frames of a clip."
        )


def check_any_clip(clip: torch.Tensor) -> None:
    """Raise InputError unless `clip` is one tensor, not empty: frames as batch, [f, c, h, w], or with an axis, [b, c, f, h, w]."""
    if clip.is_nested:
        raise InputError("The latent holds video and sound together; use the latent of the video alone.")
    if clip.ndim not in (4, 5) or 0 in clip.shape:
        raise InputError(
            f"The clip has shape {list(clip.shape)}; a clip is [frames, channels, height, width] "
            "or [batch, channels, frames, height, width]."
        )


def check_latent(latent: torch.Tensor, family: str = "Cinemo", maker: str = "Cinemo Motion Conditioning") -> None:
    """Raise InputError unless `latent` is one picture or clip: [f, 4, h, w], none of its sides empty."""
    shape = list(latent.shape)
    if latent.ndim == 5:
        raise InputError(
            f"The latent has 5 dimensions {shape}, as video models with a frame axis use them; {family} takes [frames, 4, height, width]: "
            f"make the latent with {maker}, or with VAE Encode on the frames of a clip."
        )
    if latent.ndim != 4:
        raise InputError(f"The latent has shape {shape}; a {family} clip is [frames, 4, height, width].")
    frames, channels, height, width = shape
    if channels != LATENT_CHANNELS:
        raise InputError(
            f"The latent has {channels} channels, {family} has {LATENT_CHANNELS}: encode with a Stable Diffusion VAE or {family}'s own."
        )
    if frames < 1 or height < 1 or width < 1:
        raise InputError(f"The latent is empty, its shape is {shape}; use one with at least one frame, row and column.")


def check_finite(latent: torch.Tensor) -> None:
    """Raise InputError if the latent holds NaN or infinite values."""
    if not latent.isfinite().all():
        raise InputError("The latent holds NaN or infinite values; check the image, the VAE and its dtype.")


def check_video_size(width: int, height: int, frames: int) -> None:
    """Raise InputError unless width and height are multiples of 8 from 16 on and there are at least 2 frames."""
    for name, value in (("width", width), ("height", height)):
        if not _is_whole(value) or value < MIN_SIDE or value % PIXELS_PER_LATENT:
            raise InputError(f"The {name} is {value!r}; choose a multiple of {PIXELS_PER_LATENT} of at least {MIN_SIDE} pixels.")
    if not _is_whole(frames) or frames < MIN_FRAMES:
        raise InputError(f"A clip of {frames!r} frame(s) was asked for; choose {MIN_FRAMES} or more, the input image is the first.")


def check_image(image: torch.Tensor) -> None:
    """Raise InputError unless `image` is a filled, finite image batch [b, h, w, 3 or 4]."""
    shape = list(image.shape)
    if image.ndim != 4:
        raise InputError(f"The image has shape {shape}; expected [batch, height, width, channels], as Load Image gives it.")
    if 0 in shape:
        raise InputError(f"The image batch is empty, its shape is {shape}; connect at least one image.")
    if shape[3] not in (3, 4):
        raise InputError(f"The image has {shape[3]} channels; connect an RGB image, with or without alpha.")
    if not image.isfinite().all():
        raise InputError("The image holds NaN or infinite values; check the node that made it.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
