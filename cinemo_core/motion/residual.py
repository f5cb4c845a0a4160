"""Motion residuals: what Cinemo denoises instead of frames (paper sec. 3.1, M = {z_2 - z_1, ..., z_N - z_1}).

A clip is [f, c, h, w] with the input image's latent z0 [1, c, h, w] as frame 0. Residuals keep that layout, frame 0
included, so that clips and residuals line up frame by frame.
"""

import torch

from ..errors import InputError
from ..shapes import check_clip_latent, check_finite

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
    """A clip [f, 4, h, w] as its first frame [1, 4, h, w] and its residual [f, 4, h, w]. Raises InputError if it is no clip."""
    check_clip_latent(clip)
    check_finite(clip)
    z0 = clip[:1].clone()
    return z0, to_residual(clip, z0)


def merge_clip(first: torch.Tensor, residual: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """A first frame plus `gain` times a motion: the clip [f, 4, h, w], its frame 0 exactly the first frame.

    first: one latent or a clip [n, 4, h, w], of which frame 0 counts. residual: [f, 4, h, w]. gain: 0 (still) to 4.
    Raises InputError for a gain out of range, sizes that differ and non-finite numbers.
    """
    if not 0.0 <= gain <= MAX_GAIN:
        raise InputError(f"The gain is {gain}; choose a number from 0 (no motion) to {MAX_GAIN:g}.")
    check_clip_latent(residual)
    if first.ndim != 4 or first.shape[0] < 1 or first.shape[1:] != residual.shape[1:]:
        raise InputError(
            f"The first frame has shape {list(first.shape)} and the motion {list(residual.shape)}; "
            "a motion moves onto another image only at the same width and height: encode the image at the size of the clip."
        )
    for latent in (first, residual):
        check_finite(latent)
    return to_frames(gain * residual, first[:1].to(residual))


def _check(clip: torch.Tensor, z0: torch.Tensor) -> None:
    if clip.ndim != 4 or clip.shape[0] < 1 or z0.shape != (1, *clip.shape[1:]):
        raise InputError(
            f"The clip has shape {list(clip.shape)} and its first frame {list(z0.shape)}; "
            "expected [f, c, h, w] and [1, c, h, w] of one size: use the conditioning and the latent of the same clip."
        )
