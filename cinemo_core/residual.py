"""Motion residuals: what Cinemo denoises instead of frames (paper sec. 3.1, M = {z_2 - z_1, ..., z_N - z_1}).

A clip is [f, c, h, w] with the input image's latent z0 [1, c, h, w] as frame 0. Residuals keep that layout, frame 0
included, so that clips and residuals line up frame by frame.
"""

import torch

from .errors import InputError


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


def _check(clip: torch.Tensor, z0: torch.Tensor) -> None:
    if clip.ndim != 4 or clip.shape[0] < 1 or z0.shape != (1, *clip.shape[1:]):
        raise InputError(
            f"The clip has shape {list(clip.shape)} and its first frame {list(z0.shape)}; "
            "expected [f, c, h, w] and [1, c, h, w] of one size: use the conditioning and the latent of the same clip."
        )
