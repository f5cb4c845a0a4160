"""The learning rate by step: up, even, and down to nothing over the last part of a run.

Set before each step from the step's number alone, so a resumed run may be made longer, or get another rate.
"""

from collections.abc import Sequence
from typing import Any


def share_of_rate(step: int, steps: int, warmup: int, decay: float) -> float:
    """Of the learning rate, for the step of this number, the first being 0; decay: share of the run that goes down."""
    down = max(1.0, decay * steps)
    return min(1.0, (step + 1) / max(1, warmup), max(0.0, (steps - step) / down))


class Rates:
    """The learning rates that optimisers were made with. Make it before a checkpoint is loaded, which brings its own."""

    def __init__(self, optimizers: Sequence[Any]) -> None:
        self.optimizers = optimizers
        self.full = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]

    def set(self, share: float) -> None:
        for optimizer, full in zip(self.optimizers, self.full, strict=True):
            for group, rate in zip(optimizer.param_groups, full, strict=True):
                group["lr"] = share * rate
