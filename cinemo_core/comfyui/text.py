"""The prompt of a clip, as a model takes it: checked, one row for the clip or one for each frame."""

import comfy.conds
import torch

from ..errors import ConditioningError, InputError
from .description import FamilyDescription
from .rows import CONDText


def set_text(
    conds: dict[str, comfy.conds.CONDRegular], text: torch.Tensor | None, frames: int, width: int, family: type[FamilyDescription]
) -> None:
    """Put a prompt [1 or frames, l, width] among the CONDs, for the network and for ControlNets that have none of their own.

    Raises ConditioningError where there is no prompt, a wrong number of them or no numbers, InputError for one of another width.
    """
    if text is None or 0 in text.shape:
        raise ConditioningError(f"The conditioning holds no prompt; connect CLIP Text Encode before {family.conditioner}.")
    if text.shape[0] not in (1, frames):
        raise ConditioningError(
            f"The conditioning holds {text.shape[0]} prompts for a clip of {frames} frames; give one prompt, or one per frame."
        )
    if text.shape[-1] != width:
        raise InputError(
            f"The text encoder gives {text.shape[-1]} channels, this {family.family.name} model reads {width}; use {family.text_encoder}."
        )
    if not text.isfinite().all():
        raise ConditioningError(
            "The text encoder gave NaN or infinite values for the prompt; it is damaged, or its number format is too narrow: start "
            "ComfyUI with --fp32-text-enc, and check its LoRA."
        )
    conds["c_crossattn"] = CONDText(text)
    conds.setdefault("crossattn_controlnet", comfy.conds.CONDCrossAttn(text))  # ControlNets take a row of text per frame
