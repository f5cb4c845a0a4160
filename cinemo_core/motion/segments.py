"""Longer clips from segments: prompt and motion of each, correction of its drift, and how segments are joined.

Autoregression, as the author of Cinemo suggests for more than 16 frames: a segment is animated from a frame of the one before.
Errors accumulate that way, mostly in colour and contrast, which are the mean and the standard deviation of the latent
channels; these are matched to the first image's, as AdaIN does with features (arXiv 1703.06868, eq. 8).

A segment is [f, c, h, w]. With an overlap of n frames the next one begins from frame f - 1 - n, and its last n frames are cross-faded
with the next segment's.
"""

from typing import NamedTuple

import torch

from ..errors import InputError
from .buckets import motion_id

SEED_STEP = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: keeps the segments of nearby seeds apart
FLAT = 1e-6  # a channel that deviates less has no contrast to scale


class Drift(NamedTuple):
    """Distance of a frame's channel statistics from the first image's: root mean square over the channels."""

    mean: float
    std: float


def check_segments(segments: int, overlap: int, frames: int, strength: float) -> None:
    """Raise InputError unless there is a segment, each adds a frame to the clip, and the correction strength is in 0..1."""
    if segments < 1:
        raise InputError(f"{segments} segments were asked for; choose 1 or more.")
    if not 0 <= overlap <= frames - 2:
        raise InputError(
            f"The overlap is {overlap} frame(s) and a segment has {frames}; choose 0 to {frames - 2}, "
            "so that each segment adds to the clip."
        )
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"The correction is {strength}; choose a number from 0 (none) to 1 (the first image's statistics).")


def segment_prompts(text: str, segments: int) -> list[str | None]:
    """One prompt per segment from the lines of `text`; empty lines are skipped, the last line repeats, no line gives None.

    Raises InputError for more lines than segments.
    """
    return _one_per_segment([line.strip() for line in text.splitlines() if line.strip()], segments, "prompts", "line")


def segment_motion_ids(buckets: str, segments: int) -> list[int | None]:
    """One network id per segment from motion buckets such as "9, 9, 12"; the last one repeats, an empty text gives None.

    Raises InputError for anything but whole numbers 0..19 and for more buckets than segments.
    """
    ids = []
    for word in buckets.replace(",", " ").split():
        if not word.isdecimal():
            raise InputError(f'The buckets hold "{word}"; write whole numbers from 0 to 19 with commas between them, such as "9, 9, 12".')
        ids.append(motion_id(int(word)))
    return _one_per_segment(ids, segments, "buckets", "bucket")


def _one_per_segment(values: list, segments: int, name: str, item: str) -> list:
    if len(values) > segments:
        raise InputError(
            f"There are {len(values)} {name} for {segments} segment(s); give one {item} per segment, or fewer: the last repeats."
        )
    return [*values, *(values[-1:] or [None]) * (segments - len(values))]


def segment_seed(seed: int, index: int) -> int:
    """Seed of segment `index` 0..: seed + index * 0x9E3779B97F4A7C15 modulo 2**64. The first segment's is `seed` itself."""
    return (seed + index * SEED_STEP) % 2**64


def drift(frame: torch.Tensor, reference: torch.Tensor) -> Drift:
    """How far the statistics of a frame [1, c, h, w] are from those of the first image [1, c, h, w]."""
    pairs = zip(_statistics(frame), _statistics(reference), strict=True)
    return Drift(*((found - wanted).square().mean().sqrt().item() for found, wanted in pairs))


def correct(segment: torch.Tensor, reference: torch.Tensor, strength: float, overlap: int = 0) -> torch.Tensor:
    """Take back a segment's drift from the first image [1, c, h, w]; returns a tensor like `segment`.

    The mean and standard deviation of each channel move towards the first image's. They move by `strength` (0..1) from the frame
    that the next segment begins from, so that distance d becomes (1 - strength) * d, and before it by a share that grows linearly
    from none at frame 0. So the correction makes no jump, and frame 0 stays bit for bit the frame that the segment began from. A
    channel without contrast gets the mean only.
    """
    last = segment.shape[0] - 1 - overlap
    share = (torch.arange(segment.shape[0], device=segment.device) / last).clamp(max=1.0)[:, None, None, None] * strength
    (mean, std), (wanted_mean, wanted_std) = _statistics(segment), _statistics(reference)
    gain = torch.where(std > FLAT, torch.lerp(std, wanted_std, share) / std, 1.0)
    return (segment * gain + (torch.lerp(mean, wanted_mean, share) - gain * mean)).to(segment.dtype)


def _statistics(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel of each frame, [f, c, 1, 1]."""
    frames = frames.float()
    return frames.mean(dim=(-2, -1), keepdim=True), frames.std(dim=(-2, -1), correction=0, keepdim=True)


def join(segments: list[torch.Tensor], overlap: int, closed_loop: bool = False) -> torch.Tensor:
    """The whole clip, f + (segments - 1) * (f - 1 - overlap) frames.

    Each segment's frame 0 is a frame of the one before. From there to the end of the one before, the two are
    cross-faded linearly; with overlap 0 that is the one frame that they share.

    A closed loop runs backwards to frame 0, which ends it: n frames become 2 * n - 1. No step in it is larger than the
    largest on the way out, whatever the model.
    """
    weights = torch.arange(overlap + 1, device=segments[0].device) / (overlap + 1)
    clip = segments[0].clone()
    for segment in segments[1:]:
        weight = weights.to(clip.dtype)[:, None, None, None]
        faded = torch.lerp(clip[-1 - overlap :], segment[: overlap + 1], weight)
        clip = torch.cat([clip[: -1 - overlap], faded, segment[overlap + 1 :]])
    return torch.cat([clip, clip[:-1].flip(0)]) if closed_loop else clip
