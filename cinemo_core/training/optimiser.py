"""Optimiser, learning-rate schedule and moving average of the weights, by torch and diffusers."""

import importlib.util
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import InputError
from .config import Optimizer


class Slowed(NamedTuple):
    """A layer and its share of the learning rate."""

    layer: nn.Module
    share: float


def make_optimizers(
    options: Optimizer, module: nn.Module, device: torch.device, slowed: Sequence[Slowed] = (), matrices: Sequence[nn.Parameter] = ()
) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters that train; with `muon_rate`, Muon for those of the matrices. Raises InputError if torch has none."""
    if not options.muon_rate:
        return [make_optimizer(options, module, device, slowed)]
    if not hasattr(torch.optim, "Muon"):
        raise InputError(f"optimizer.muon_rate needs torch 2.9 or newer, and this is {torch.__version__}; update it, or unset the key.")
    trained = [p for p in matrices if p.requires_grad]
    muon = torch.optim.Muon(trained, lr=options.muon_rate, weight_decay=options.weight_decay)
    return [make_optimizer(options, module, device, slowed, {id(p) for p in trained}), muon]


def make_optimizer(
    options: Optimizer, module: nn.Module, device: torch.device, slowed: Sequence[Slowed] = (), without: Set[int] = frozenset()
) -> torch.optim.Optimizer:
    """AdamW over the parameters that train, but those whose id is in `without`; vectors (norms, biases) and embeddings are not decayed."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    shares = {id(p): share for layer, share in slowed for p in layer.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for p in module.parameters():
        if p.requires_grad and id(p) not in without:
            groups.setdefault((shares.get(id(p), 1.0), p.ndim <= 1 or id(p) in embeddings), []).append(p)
    parameters = [
        {"params": groups[key], "lr": options.learning_rate * key[0], "weight_decay": 0.0 if key[1] else options.weight_decay}
        for key in sorted(groups, key=lambda key: (-key[0], key[1]))
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

    It looks at whole parameters, so it cannot follow those that FSDP or stage 3 of DeepSpeed has cut in pieces; raises
    InputError there.
    """
    if not decay:
        return None
    deepspeed = accelerator.state.deepspeed_plugin
    if str(accelerator.distributed_type).endswith("FSDP") or (deepspeed and deepspeed.zero_stage == 3):
        raise InputError(
            "optimizer.ema is set, but FSDP and stage 3 of DeepSpeed cut the parameters in pieces that it cannot follow; "
            "set optimizer.ema = 0."
        )
    from diffusers.training_utils import EMAModel

    ema = EMAModel(parameters, decay=decay, foreach=True)
    ema.to(accelerator.device)
    return ema
