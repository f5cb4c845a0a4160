"""Which image tokens each frame of a clip sees. The projector makes those of 16 frames, the length that it was trained on."""

import torch
from torch import Tensor

from ...errors import InputError
from .resampler import FRAMES

RESAMPLED, FIRST, REFERENCE = "resampled", "first", "reference"
RULES = (RESAMPLED, FIRST, REFERENCE)


def tokens_of_frames(tokens: Tensor, frames: int, rule: str = RESAMPLED) -> Tensor:
    """[b, 16 * q, d], those of frame 0 first -> [b, frames, q, d], or [b, 16 * q, d] for tokens that every frame sees.

    rule, for clips that are not 16 frames long: "resampled" spreads the 16 over the clip, blending neighbours; "first" takes those of
    the first frames; "reference" lets every frame see all of them, as the authors' code does.
    """
    by_frame = tokens.unflatten(1, (FRAMES, -1))
    if frames == FRAMES:
        return by_frame
    if rule == REFERENCE:
        return tokens
    if rule == FIRST:
        return by_frame[:, :frames]
    places = torch.arange(frames, device=tokens.device) * ((FRAMES - 1) / max(1, frames - 1))
    before = places.floor().clamp(max=FRAMES - 2)
    share = (places - before).to(tokens.dtype)[:, None, None]
    before = before.long()
    return torch.lerp(by_frame[:, before], by_frame[:, before + 1], share)


def check_rule(frames: int, rule: str) -> None:
    """Raise InputError for an unknown rule, and for one that has no tokens for so many frames."""
    if rule not in RULES:
        raise InputError(f"The rule for image tokens is {rule!r}; choose one of {', '.join(RULES)}.")
    if rule == FIRST and frames > FRAMES:
        raise InputError(
            f"The image tokens of the first frames were asked for in a clip of {frames} frames, and there are those of {FRAMES}; choose "
            f"{RESAMPLED}, or at most {FRAMES} frames."
        )
