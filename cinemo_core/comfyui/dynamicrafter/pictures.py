"""From people's pictures to a conditioning: latents of the frames that are known, tokens of the image, and how much the clip moves."""

import logging
from dataclasses import dataclass, replace

import torch

from ...errors import InputError
from ...models.dynamicrafter.tokens import RESAMPLED, check_rule
from ...models.dynamicrafter.variants import SMALL, Variant
from ...shapes import check_image, check_video_size
from ..description import check_model
from ..pictures import ClipSize, encode_images, fit
from .conditioning import ImageCondition, attach_image
from .model import DynamiCrafterSupported
from .tower import check_tower, tower_tokens

VAES = "the VAE of the checkpoint or one of Stable Diffusion"
RECOMMENDED = 0  # of a motion number


@dataclass(frozen=True)
class Motion:
    """How much a clip moves, in the terms of the variant: a frame stride (256; larger moves more), or frames per second (the others;
    smaller moves more). RECOMMENDED for the variant's own.
    """

    fps: int = RECOMMENDED
    stride: int = RECOMMENDED

    def number(self, variant: Variant) -> int:
        """What the network reads. Raises InputError where the other of the two is set."""
        reads, other = (self.stride, self.fps) if variant == SMALL else (self.fps, self.stride)
        if min(reads, other) < 0:
            raise InputError(f"The motion number is {min(reads, other)}; choose 1 or more, or {RECOMMENDED} for the recommended one.")
        if other != RECOMMENDED:
            set_one, own = ("fps", "frame_stride") if variant == SMALL else ("frame_stride", "fps")
            raise InputError(
                f"{set_one} is set to {other}, but the {variant.name} model reads {variant.motion}: set {own} instead "
                f"({variant.default_fs} is recommended) and leave {set_one} at {RECOMMENDED}."
            )
        return variant.default_fs if reads == RECOMMENDED else reads


@dataclass(frozen=True)
class Pictures:
    """The image to animate; or, to fill what is between, the first picture and the last, which a loop shares with the first.

    Batches [b, h, w, 3 or 4] in 0..1, of which the first is used.
    """

    image: torch.Tensor
    last: torch.Tensor | None = None
    loop: bool = False

    @property
    def between(self) -> bool:
        return self.loop or self.last is not None

    def check(self) -> None:
        """Raise InputError for pictures that cannot be used, and for a last picture of a loop."""
        check_image(self.image)
        if self.last is not None:
            check_image(self.last)
            if self.loop:
                raise InputError("A loop ends with its first image, but last_image is connected too; disconnect it, or turn loop off.")


def condition_clip(
    model, positive: list, negative: list, encoders: tuple, pictures: Pictures, size: ClipSize, motion: Motion, tokens: str = RESAMPLED
) -> tuple[list, list, torch.Tensor]:
    """Encode the pictures and attach them to both conditionings; the negative gets a grey image in the tokens, as the authors' has.

    model: a ModelPatcher of this family. encoders: CLIP_VISION and VAE. Returns positive, negative and the latent to start from
    [frames, 4, height / 8, width / 8]: the image in every frame, or what is between two pictures, faded from one to the other.
    Raises InputError for models, sizes, pictures and numbers that do not fit.
    """
    check_model(model, DynamiCrafterSupported)
    clip_vision, vae = encoders
    variant: Variant = model.get_model_object("variant")
    check_video_size(size.width, size.height, size.frames)
    pictures.check()
    check_rule(size.frames, tokens)
    fs = motion.number(variant)
    check_tower(clip_vision, model.model.diffusion_model.image_proj_model.config.image_dim)
    if doubt := doubt_of(pictures, variant):
        logging.warning(doubt)
    images = fit(pictures.image[:1], size)
    ends = images if pictures.last is None else torch.cat([images, fit(pictures.last[:1], size)])
    latents = encode_images(vae, ends, VAES)
    first, last = latents[:1], latents[-1:]
    share = torch.linspace(0, 1, size.frames).to(latents)[:, None, None, None]
    known = ((share == 0) | (share == 1)) if pictures.between else torch.ones_like(share)
    start = torch.lerp(first, last, share)

    picture = images.movedim(-1, 1) * 2 - 1  # b h w c in 0..1 -> b c h w in -1..1
    towers = tower_tokens(clip_vision, torch.cat([picture, torch.zeros_like(picture)]))
    image = ImageCondition(start * known, towers[:1], fs, tokens)
    (positive,) = attach_image(image, positive)
    (negative,) = attach_image(replace(image, tower=towers[1:]), negative)
    return positive, negative, start


def doubt_of(pictures: Pictures, variant: Variant) -> str | None:
    """Why the clip may not become what was asked for, as sentences."""
    if variant.between or not pictures.between:
        return None
    return (
        f"A last image or a loop was asked of a DynamiCrafter model that was loaded as {variant.name}; only the interpolation model was "
        "trained for it. If the file is that one, set the variant in its loader."
    )


def describe(model, pictures: Pictures, motion: Motion) -> str:
    """Which variant animates the pictures and the motion number that it reads, then what may go wrong; a line each."""
    variant: Variant = model.get_model_object("variant")
    number = motion.number(variant)
    choice = "the recommended" if number == variant.default_fs else f"{variant.default_fs} is recommended"
    doubt = doubt_of(pictures, variant)
    return "\n".join([f"{variant.full_name}, {variant.motion} {number} ({choice}).", *([f"Warning: {doubt}"] if doubt else [])])
