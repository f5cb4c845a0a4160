"""Mixed precision where the processor gains by it.

A CPU without instructions for it computes convolutions in bfloat16 step by step: a nano decoder took 65 times as long as in
float32 on an AMD EPYC with AVX2 alone.
"""

import logging
import os

import torch


def gains_by_bfloat16(device: torch.device) -> bool:
    """False for a CPU that has no fast path for bfloat16 (oneDNN's needs AVX-512 or the like)."""
    onednn = torch.backends.mkldnn
    return device.type != "cpu" or (onednn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def mixed_precision(asked: str) -> str:
    """What accelerate computes in, for `run.precision`: that, but float32 ("no") where bfloat16 would only cost time.

    "accelerate" means what its own launcher or configuration says, without which it is float32.
    """
    from accelerate.utils import parse_flag_from_env

    if asked == "accelerate":
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    if asked != "bf16" or not on_cpu or gains_by_bfloat16(torch.device("cpu")):
        return asked
    logging.info('This processor has no bfloat16 instructions; training in float32, as with run.precision = "no".')
    return "no"
