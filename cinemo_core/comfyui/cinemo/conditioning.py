"""What a conditioning must carry for Cinemo: the clip that it belongs to, and rows that are per clip, not per frame."""

from dataclasses import dataclass, replace

import node_helpers
import torch

from ...errors import ConditioningError
from ...motion.buckets import SAME_BUCKET, motion_id
from ...motion.residual import static_clip
from ...shapes import check_image, check_video_size
from ..pictures import ClipSize, encode_images, fit

CLIP_KEY = "cinemo_clip"
VAES = "Cinemo's own VAE or one of Stable Diffusion 1.x"
FROM_BUCKET = -1.0  # of the number that the network reads


@dataclass(frozen=True)
class ClipCondition:
    """One clip: its first frame's latent z0 [1, 4, h, w] as the VAE gives it (unscaled), its motion id and its length.

    `keeps_motion`: the id is this conditioning's alone, and is kept where the motion of the clip is set again.
    """

    z0: torch.Tensor
    motion_id: float
    frames: int
    keeps_motion: bool = False


@dataclass(frozen=True)
class Motion:
    """How much a clip moves: a bucket, or in its place `raw_id`, the number that the network reads, if that is 0 or more.

    negative: the bucket of the negative conditioning. Guidance then also leads away from that motion.
    """

    bucket: int
    raw_id: float = FROM_BUCKET
    negative: int = SAME_BUCKET

    @property
    def id(self) -> float:
        """Raises InputError for a bucket out of range."""
        return float(motion_id(self.bucket) if self.raw_id < 0 else self.raw_id)

    @property
    def negative_id(self) -> float | None:
        """None where the negative moves as the positive does. Raises InputError for a bucket out of range."""
        return None if self.negative == SAME_BUCKET else float(motion_id(self.negative))


def condition_clip(
    positive: list, negative: list, vae, image: torch.Tensor, size: ClipSize, motion: Motion
) -> tuple[list, list, torch.Tensor]:
    """Encode the first image of a batch as z0 and attach it, with the motion, to both conditionings.

    image: [b, h, w, 3 or 4] in 0..1. Returns positive, negative and the static clip [frames, 4, height / 8, width / 8], the
    latent to start from. Raises InputError for sizes, images, buckets and VAEs that do not fit.
    """
    check_video_size(size.width, size.height, size.frames)
    check_image(image)
    positive_id, negative_id = motion.id, motion.negative_id
    z0 = encode_images(vae, fit(image[:1], size), VAES)
    clip = ClipCondition(z0, positive_id, size.frames)
    positive, negative = attach_clip(clip, positive, negative)
    if negative_id is not None:
        (negative,) = attach_clip(replace(clip, motion_id=negative_id, keeps_motion=True), negative)
    return positive, negative, static_clip(z0, size.frames)


def attach_clip(clip: ClipCondition, *conditionings: list) -> list[list]:
    """The conditionings with every entry saying which clip it belongs to; an earlier clip is replaced, the inputs stay as they are."""
    return [node_helpers.conditioning_set_values(conditioning, {CLIP_KEY: clip}) for conditioning in conditionings]


def clip_of(conditioning: list, name: str) -> ClipCondition:
    """The clip of a CONDITIONING list; raises ConditioningError where an entry has none or entries disagree."""
    clips = [options.get(CLIP_KEY) for _, options in conditioning]
    if not clips or None in clips:
        raise ConditioningError(
            f"The {name} conditioning does not say which image to animate; pass it through Cinemo Motion Conditioning before the sampler."
        )
    if any(clip.z0.shape != clips[0].z0.shape or clip.frames != clips[0].frames for clip in clips):
        raise ConditioningError(
            f"The {name} conditioning combines clips of different sizes or lengths; give every part the same width, height and frames."
        )
    return clips[0]


def check_clip(clip: ClipCondition, latent_shape: torch.Size | list[int]) -> None:
    """Raise ConditioningError unless a latent of this shape is the clip that the conditioning was made for."""
    frames, _, height, width = latent_shape
    if (clip.frames, *clip.z0.shape[-2:]) != (frames, height, width):
        z0_height, z0_width = clip.z0.shape[-2:]
        raise ConditioningError(
            f"The conditioning is for {clip.frames} frames of {z0_width * 8}x{z0_height * 8}, the latent has {frames} frames of "
            f"{width * 8}x{height * 8}; use the latent of the same Cinemo Motion Conditioning, or set its size and length to the clip's."
        )
