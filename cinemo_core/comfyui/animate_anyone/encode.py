"""From a reference picture and pictures of poses to the conditioning of a clip."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import comfy.model_management
import torch

from ...errors import InputError
from ...shapes import LATENT_CHANNELS, PIXELS_PER_LATENT, check_image, check_video_size
from ..description import check_model
from ..pictures import encode_images
from .conditioning import FigureCondition, attach_figure
from .encoder import check_encoder
from .model import AnimateAnyoneSupported
from .pictures import RESIZES, STRETCH, clip_picture, pose_pictures, reference_picture
from .reference import make_bank

VAES = "a VAE of Stable Diffusion 1.x"


@dataclass(frozen=True)
class FigureSize:
    """Width and height of a clip in pixels, and how a reference of another aspect meets them (a name of `RESIZES`)."""

    width: int
    height: int
    resize: str = STRETCH


def condition_figure(
    model, clip_vision, vae, image: torch.Tensor, poses: Sequence[torch.Tensor], size: FigureSize
) -> tuple[list, list, torch.Tensor]:
    """Positive, negative and the empty clip [f, 4, height / 8, width / 8] to start from.

    image: the reference, the first of a batch [b, h, w, 3 or 4] in 0..1. poses: a clip of pictures [f, h, w, 3 or 4] for each Pose Guider
    of the model. ReferenceNet runs here, once. Raises InputError for a model, encoder, picture or size that does not fit.
    """
    check_model(model, AnimateAnyoneSupported)
    frames = check_poses(poses, model.model.diffusion_model.config.pose_guiders)
    check_video_size(size.width, size.height, frames)
    check_image(image)
    if image.shape[0] > 1:
        logging.info("The reference is a batch of %d pictures; Animate Anyone takes the first.", image.shape[0])
    if size.resize not in RESIZES:
        raise InputError(f"The resize mode is {size.resize!r}; choose one of {', '.join(RESIZES)}.")

    embeds = embed(clip_vision, image, model.model.diffusion_model.config.context_dim)
    latent = encode_images(vae, reference_picture(image, size.width, size.height, size.resize), VAES)
    pictures = torch.stack([pose_pictures(clip, size.width, size.height) for clip in poses])
    empty = torch.zeros_like(embeds)
    reenacts = model.model.diffusion_model.config.reenactment  # the set whose negative sees the bank of an empty picture
    negative_bank = make_bank(model, torch.zeros_like(latent), empty) if reenacts else {}
    (positive,) = attach_figure(FigureCondition(pictures, make_bank(model, latent, embeds)), [[embeds, {}]])
    (negative,) = attach_figure(FigureCondition(pictures, negative_bank), [[empty, {}]])
    sides = (size.height // PIXELS_PER_LATENT, size.width // PIXELS_PER_LATENT)
    start = torch.zeros(frames, LATENT_CHANNELS, *sides, device=comfy.model_management.intermediate_device())
    return positive, negative, start


def check_poses(poses: Sequence[torch.Tensor], guiders: int) -> int:
    """The number of frames. Raises InputError unless there is one clip of pose pictures for each Pose Guider, of equal lengths."""
    if len(poses) != guiders:
        raise InputError(
            f"There are {len(poses)} clip(s) of poses, the model has {guiders} Pose Guider(s); connect one for each (the face re-enactment "
            "set has two)."
        )
    for clip in poses:
        check_image(clip)
    lengths = [clip.shape[0] for clip in poses]
    if len(set(lengths)) > 1:
        raise InputError(f"The clips of poses have {' and '.join(map(str, lengths))} frames; connect clips of equal length.")
    if lengths[0] < 2:
        raise InputError("There is one picture of a pose; a clip needs two or more, one for each frame.")
    return lengths[0]


def embed(clip_vision, image: torch.Tensor, width: int) -> torch.Tensor:
    """The CLIP embedding of a picture, as the only token [1, 1, width]. Raises InputError for an encoder that does not fit."""
    check_encoder(clip_vision, width)
    picture = clip_picture(image, clip_vision.image_size)
    embeds = clip_vision.encode_image(picture, crop=False)["image_embeds"]
    if not embeds.isfinite().all() or not embeds.any():
        raise InputError("The image encoder gave zeros, NaN or infinite values for the picture; choose another file.")
    return embeds.reshape(1, 1, width)
