"""Optimiser, learning-rate schedule and moving average of the weights, by torch and diffusers."""

import importlib.util
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .config import Optimizer


def make_optimizer(options: Optimizer, module: nn.Module, device: torch.device, writers: Iterable[nn.Module] = ()) -> torch.optim.Optimizer:
    """AdamW over the parameters that train; vectors (norms, biases) and embeddings are not decayed.

    writers: layers that write the output, which `output_rate` slows: Adam moves every weight by about the learning rate, whatever the
    gradient, and where noise prevails, the noise to be found differs from X_t by less than such steps of theirs make.
    """
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    slow = {id(p) for layer in writers for p in layer.parameters()} if options.output_rate != 1 else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for p in module.parameters():
        if p.requires_grad:
            groups.setdefault((id(p) in slow, p.ndim <= 1 or id(p) in embeddings), []).append(p)
    parameters = [
        {
            "params": groups[key],
            "lr": options.learning_rate * (options.output_rate if key[0] else 1.0),
            "weight_decay": 0.0 if key[1] else options.weight_decay,
        }
        for key in sorted(groups)
    ]
    arguments: dict[str, Any] = {"lr": options.learning_rate, "betas": options.betas}
    if options.eight_bit:
        if not importlib.util.find_spec("bitsandbytes"):
            raise InputError("optimizer.eight_bit needs the package bitsandbytes, which is not installed; install it, or unset the key.")
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(parameters, **arguments)
    return torch.optim.AdamW(parameters, fused=device.type in ("cpu", "cuda"), **arguments)


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
