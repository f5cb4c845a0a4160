"""Optimiser, learning-rate schedule and moving average of the weights, by torch and diffusers."""

import importlib.util
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .config import Optimizer


def make_optimizer(options: Optimizer, module: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over the parameters that train; vectors (norms, biases) and embeddings are not decayed."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in embeddings]
    others = [p for p in trained if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
    arguments: dict[str, Any] = {"lr": options.learning_rate, "betas": options.betas}
    if options.eight_bit:
        if not importlib.util.find_spec("bitsandbytes"):
            raise InputError("optimizer.eight_bit needs the package bitsandbytes, which is not installed; install it, or unset the key.")
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit([g for g in groups if g["params"]], **arguments)
    return torch.optim.AdamW([g for g in groups if g["params"]], fused=device.type in ("cpu", "cuda"), **arguments)


def make_schedule(options: Optimizer, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """The learning rate by optimiser step: `warmup` steps up, then as named."""
    from diffusers.optimization import get_scheduler

    name = "constant_with_warmup" if options.schedule == "constant" else options.schedule
    return get_scheduler(name, optimizer, num_warmup_steps=options.warmup, num_training_steps=steps)


def make_ema(decay: float, parameters: list[nn.Parameter], accelerator: Any) -> Any:
    """diffusers' moving average of these parameters, or None for decay 0.

    It looks at whole parameters, so it cannot follow those that FSDP has cut in pieces; raises InputError there.
    """
    if not decay:
        return None
    if str(accelerator.distributed_type).endswith("FSDP"):
        raise InputError("optimizer.ema is set, but FSDP cuts the parameters in pieces that it cannot follow; set optimizer.ema = 0.")
    from diffusers.training_utils import EMAModel

    ema = EMAModel(parameters, decay=decay, foreach=True)
    ema.to(accelerator.device)
    return ema
