"""Motion residuals: what Cinemo denoises instead of frames (paper sec. 3.1, M = {z_2 - z_1, ..., z_N - z_1}).

A clip is [f, c, h, w] with the input image's latent z0 [1, c, h, w] as frame 0. Residuals keep that layout, frame 0
included, so that clips and residuals line up frame by frame. `split_clip` and `merge_clip` take clips of any model.
"""

import torch

from ..errors import InputError
from ..shapes import MIN_FRAMES, check_any_clip, check_finite

MAX_GAIN = 4.0


def to_residual(frames: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    """Frame latents minus z0; [f, c, h, w]. Raises InputError if the sizes differ."""
    _check(frames, z0)
    return frames - z0


def to_frames(residual: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    """Residuals plus z0, with frame 0 exactly z0 whatever its residual; [f, c, h, w]. Raises InputError if the sizes differ."""
    _check(residual, z0)
    frames = residual + z0
    frames[:1] = z0
    return frames


def static_clip(z0: torch.Tensor, frames: int) -> torch.Tensor:
    """z0 in every frame: the clip without motion, [frames, c, h, w]. Raises InputError unless z0 is one latent and frames >= 1."""
    if z0.ndim != 4 or z0.shape[0] != 1 or frames < 1:
        raise InputError(f"A static clip needs one latent [1, c, h, w] and at least one frame, not {list(z0.shape)} and {frames} frames.")
    return z0.repeat(frames, 1, 1, 1)


def split_clip(clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A clip of any model as its first frame and its residual, which is as long as the clip.

    clip: frames as batch, [f, c, h, w], or with an axis, [b, c, f, h, w]; pictures [f, h, w, c] are treated like the former.
    Raises InputError if it is no clip.
    """
    check_motion(clip)
    first = first_frame(clip).clone()
    return first, clip - first


def merge_clip(first: torch.Tensor, residual: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """A first frame plus `gain` times a motion: a clip like `residual`, its frame 0 exactly the first frame.

    first: one frame or a clip, of which frame 0 counts, laid out like residual (see `split_clip`). gain: 0 (still) to 4.
    Raises InputError for a gain out of range, sizes that differ and non-finite numbers.
    """
    if not 0.0 <= gain <= MAX_GAIN:
        raise InputError(f"The gain is {gain}; choose a number from 0 (no motion) to {MAX_GAIN:g}.")
    check_motion(residual)
    frame = None if first.is_nested or first.ndim != residual.ndim or 0 in first.shape else first_frame(first)
    if frame is None or frame.shape[1:] != first_frame(residual).shape[1:] or frame.shape[0] not in (1, residual.shape[0]):
        raise InputError(
            f"The first frame has shape {list(first.shape)} and the motion {list(residual.shape)}; "
            "a motion moves onto another image only at the same width and height: encode the image at the size of the clip."
        )
    check_finite(frame)
    frame = frame.to(residual)
    clip = gain * residual + frame
    first_frame(clip).copy_(frame)
    return clip


def first_frame(clip: torch.Tensor) -> torch.Tensor:
    """A view of frame 0: [1, c, h, w] of frames as batch, [b, c, 1, h, w] where frames have an axis."""
    return clip[:1] if clip.ndim == 4 else clip[:, :, :1]


def check_motion(clip: torch.Tensor) -> None:
    """Raise InputError unless `clip` is a finite clip of any model, with at least 2 frames."""
    check_any_clip(clip)
    frames = clip.shape[0] if clip.ndim == 4 else clip.shape[2]
    if frames < MIN_FRAMES:
        raise InputError(f"The clip has {frames} frame(s), and motion is the difference to the first: use {MIN_FRAMES} or more.")
    check_finite(clip)


def _check(clip: torch.Tensor, z0: torch.Tensor) -> None:
    if clip.ndim != 4 or clip.shape[0] < 1 or z0.shape != (1, *clip.shape[1:]):
        raise InputError(
            f"The clip has shape {list(clip.shape)} and its first frame {list(z0.shape)}; "
            "expected [f, c, h, w] and [1, c, h, w] of one size: use the conditioning and the latent of the same clip."
        )
