"""Adds the detail of a picture to a clip that was made from it.

The detail layer is the picture minus the enlarged frame 0. It follows the flow, and is added where that can be trusted; elsewhere a
frame is just enlarged. One frame is worked on at a time, so the memory beyond the result does not grow with the clip.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .planes import bilinear, grey, lanczos, resize_flow, warp
from .track import Tracker
from .trust import gather, weigh

ENLARGED = 2.0  # flow is found on frames this much larger than the clip's: a quarter of its pixel is half of theirs
FINER = 2  # times: the grid that detail is fetched from
MOST_PIXELS = 1.5e6  # of the frames that flow is found on, unless the clip's own are larger


@dataclass(frozen=True)
class Detailed:
    """images: [f, H, W, 3] in 0..1. trust: [f, H, W], how much of the detail was added, 0..1."""

    images: torch.Tensor
    trust: torch.Tensor


def transfer_detail(
    clip: torch.Tensor,
    picture: torch.Tensor,
    strength: float = 1.0,
    device: torch.device | str = "cpu",
    tick: Callable[[], None] = lambda: None,
    finished: Callable[[int], None] = lambda frames: None,
) -> Detailed:
    """The clip [f, h, w, 3] at the size of the picture [H, W, 3] that its frame 0 shows, both in 0..1; works on `device`.

    strength: 0 enlarges only, 1 adds all that is trusted; frame 0 is then the picture. `tick` is called often and may raise to
    stop; `finished` gets the number of finished frames.
    """
    height, width = picture.shape[:2]
    size = working_size(clip.shape[1], clip.shape[2], height, width)
    images = torch.empty(clip.shape[0], height, width, 3)
    trust = torch.empty(clip.shape[0], height, width)

    original = to_planes(picture, device)
    small = to_planes(clip[0], device)
    first = lanczos(small, *size)
    # Twice as fine, for interpolation between pixels that are neighbours takes from the finest detail.
    detail = lanczos(original - lanczos(small, height, width), FINER * height, FINER * width)
    images[0] = picture.lerp(lanczos(small, height, width)[0].movedim(0, -1).to(picture).clamp(0, 1), 1 - strength)
    trust[0] = strength
    finished(1)
    tracker = Tracker(grey(first), tick)
    for index in range(1, clip.shape[0]):
        small = to_planes(clip[index], device)
        frame = lanczos(small, *size)
        match = tracker.follow(grey(frame))
        weight = strength * weigh(gather(first, frame, match, size[0] / clip.shape[1]))
        weight = bilinear(weight, height, width)
        moved = warp(detail, resize_flow(match.to_first, height, width))
        images[index] = lanczos(small, height, width).addcmul_(weight, moved).clamp_(0, 1)[0].movedim(0, -1)
        trust[index] = weight[0, 0]
        finished(index + 1)
    return Detailed(images, trust)


def to_planes(image: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """[h, w, 3] -> [1, 3, h, w] in float32 on the device."""
    return image.to(device=device, dtype=torch.float32).movedim(-1, 0)[None]


def working_size(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """Of the frames that flow is found on: larger than the clip's, no larger than the result's."""
    scale = min(ENLARGED, most_height / height, most_width / width, math.sqrt(MOST_PIXELS / (height * width)))
    return (round(height * scale), round(width * scale)) if scale > 1 else (height, width)
