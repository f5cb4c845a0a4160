"""Which frames of its clip an evaluation of the model holds: all of them, or those of a context window."""

from collections.abc import Sequence

import torch

from ..errors import SamplingError
from ..shapes import PIXELS_PER_LATENT


def frame_indices(x: torch.Tensor, clips: int, clip_frames: int, z0: torch.Tensor, transformer_options: dict) -> Sequence[int]:
    """Index in the clip of each frame at hand.

    x: [clips * f, c, h, w], what a sampler asks about; z0: [clips, c, h, w]. Raises SamplingError where x is neither the clip
    nor a window of it that its maker declares.
    """
    window = told_window(transformer_options)
    frames = x.shape[0] / clips
    if x.shape[-2:] != z0.shape[-2:] or frames != (clip_frames if window is None else len(window)):
        raise SamplingError(
            f"A clip of {_size(clip_frames, z0)} was asked about in a shape of {_size(frames, x)}, not as a context window of ComfyUI or "
            "AnimateDiff-Evolved; use samplers and nodes that keep its size and length while sampling (SamplerLCMUpscale does not), "
            "and change them afterwards."
        )
    return range(clip_frames) if window is None else window


def pick_frames(clips: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
    """These frames of each clip, [clips, f, ...]. One by one: a list of indices would be copied to the GPU, and the copy waits."""
    return torch.stack([clips[:, index] for index in indices], dim=1)


def told_window(transformer_options: dict) -> list[int] | None:
    """The frames of the window at hand, None where there is no window: core's record of it, or that of AnimateDiff-Evolved."""
    theirs = transformer_options.get("ad_params", {}).get("sub_idxs")
    if theirs is not None:
        return list(theirs)
    window = transformer_options.get("context_window")
    if window is None:
        return None
    anchor = getattr(window, "causal_anchor_index", None)
    return window.index_list if anchor is None else [anchor, *window.index_list]


def _size(frames: float, latent: torch.Tensor) -> str:
    height, width = latent.shape[-2:]
    return f"{frames:g} frames of {width * PIXELS_PER_LATENT}x{height * PIXELS_PER_LATENT}"
