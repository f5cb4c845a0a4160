"""What sampling ended in."""

import comfy.model_base
import torch

from ..errors import SamplingError
from .narrow import format_name


def check_sampled(model: comfy.model_base.BaseModel, latent: torch.Tensor) -> None:
    """Raise SamplingError unless a sampled clip [f, c, h, w] holds numbers in all frames."""
    finite = latent.flatten(1).isfinite().all(dim=1)
    if not finite.all():
        formats = f"weights in {format_name(model.get_dtype())} and computing in {format_name(model.get_dtype_inference())}"
        raise SamplingError(
            f"Sampling ended in NaN or infinite values in {int((~finite).sum())} of {len(finite)} frames, with {formats}; likely "
            "causes are a number format that is too narrow (try weight_dtype bf16 or fp32), a cfg that is too high, a LoRA or patch "
            "that is too strong, or a damaged checkpoint."
        )
