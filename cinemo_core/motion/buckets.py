"""Motion as a number: the bucket that people set, the id that the network reads, and the score of a clip (paper sec. 3.2).

The paper projects the mean SSIM between consecutive frames onto buckets 0..19 and moves more with a larger bucket. It
publishes neither the range nor the ids that the released network takes, so the direction used here is inferred, from:
the authors' demo, whose slider 1..20 sends 100 - slider (ids 99..80) to the network; and the paper's definition, by
which still clips score an SSIM near 1. Both agree with id = round(100 * SSIM): id 99 is the least motion, bucket 0.
The authors' sample configurations contradict each other and were given no weight.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import InputError
from ..resize import resize_image
from .ssim import check_frames, check_measurable, ssim_of_pairs

BUCKETS = 20
LEAST_MOTION_ID = 99
SAME_BUCKET = -1  # of a negative: that of its positive


def motion_id(bucket: int) -> int:
    """Network id of a motion bucket: 0 (least motion) -> 99, 19 (most) -> 80. The direction is inferred, see the module.

    Raises InputError for anything but a whole number in 0..19.
    """
    if isinstance(bucket, bool) or not isinstance(bucket, int) or not 0 <= bucket < BUCKETS:
        raise InputError(f"The motion bucket is {bucket!r}; choose a whole number from 0 (least motion) to {BUCKETS - 1} (most).")
    return LEAST_MOTION_ID - bucket


def bucket_of_motion_id(network_id: float) -> int:
    """Motion bucket nearest to a network id, the inverse of `motion_id`; ids outside 80..99 give the bucket at that end."""
    return min(max(round(LEAST_MOTION_ID - network_id), 0), BUCKETS - 1)


def motion_id_of_ssim(ssim: float) -> int:
    """Network id of a clip whose mean SSIM is `ssim`, -1..1: the SSIM in whole hundredths. Inferred, see the module."""
    return round(100 * ssim)


def ssim_range(bucket: int) -> tuple[float, float]:
    """Lowest and highest mean SSIM of the bucket, one hundredth wide; the end buckets reach to -1 and to 1.

    Raises InputError as `motion_id` does.
    """
    centre = motion_id(bucket) / 100
    return (-1.0 if bucket == BUCKETS - 1 else centre - 0.005), (1.0 if bucket == 0 else centre + 0.005)


@dataclass(frozen=True)
class MotionScore:
    """How similar the consecutive frames of a clip are, and how that was measured.

    pairs: SSIM of each compared frame with the one compared before it. frame_stride: how far apart these are in the
    clip. width, height: size in pixels at which they were compared.
    """

    pairs: tuple[float, ...]
    frame_stride: int
    width: int
    height: int

    @property
    def ssim(self) -> float:
        """The motion score s(V) of Eq. 2: the mean over the pairs."""
        return sum(self.pairs) / len(self.pairs)

    @property
    def motion_id(self) -> int:
        return motion_id_of_ssim(self.ssim)

    @property
    def bucket(self) -> int:
        """The motion bucket of the clip; values outside the scale get the bucket at that end."""
        return bucket_of_motion_id(self.motion_id)


def score_clip(
    images: torch.Tensor, width: int, height: int, resize: str, frame_stride: int, progress: Callable[[int, int], None]
) -> MotionScore:
    """Measure a clip [f, h, w, 3 or 4] in 0..1 at the size and frame rate of another.

    SSIM depends on the size of the picture and on the time between frames, so a clip says something about another one
    only at that one's size (`width`, `height`, reached by a mode of `resize_image`) and interval (every
    `frame_stride`-th frame is looked at). Memory does not grow with the clip; `progress` is called with (pairs done, all
    pairs) and may raise to stop. Raises InputError for clips, sizes and strides that cannot be measured, before the first pair.
    """
    check_frames(images)
    check_measurable(width, height)
    total = _count_pairs(images.shape[0], frame_stride)
    frames = (resize_image(images[index : index + 1], width, height, resize)[0] for index in range(0, images.shape[0], frame_stride))
    pairs: list[float] = []
    for similarity in ssim_of_pairs(frames):
        pairs.append(similarity)
        progress(len(pairs), total)
    return MotionScore(tuple(pairs), frame_stride, width, height)


def _count_pairs(frames: int, frame_stride: int) -> int:
    """Number of pairs in a clip of 2 frames or more; raises InputError if the stride leaves none."""
    if isinstance(frame_stride, bool) or not isinstance(frame_stride, int) or frame_stride < 1:
        raise InputError(f"The frame stride is {frame_stride!r}; choose a whole number from 1 (every frame) on.")
    if frames <= frame_stride:
        raise InputError(
            f"The clip has {frames} frames, too few to compare frames {frame_stride} apart; choose a frame stride of at most {frames - 1}."
        )
    return (frames - 1) // frame_stride
