"""The loop that trains a part of nano on batches made from their number alone: rates, averages, losses, checkpoints, stopping."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..batches import Positions
from ..checkpoints import Progress, find_checkpoints, save_checkpoint
from ..config import Optimizer, key
from ..logs import LossLog, check_loss
from ..optimiser import make_ema
from ..precision import mixed_precision
from ..trainer import stop_signals
from .rates import Rates, share_of_rate

KEPT = 2  # checkpoints


@dataclass(frozen=True)
class LoopRun:
    """How long, and what is written. decay: share of the run over which the rate falls to nothing; minutes: between checkpoints."""

    output: str = key(path=True)
    steps: int = key(low=1)
    seed: int = key(0, low=0)
    decay: float = key(0.25, low=0.0, high=1.0)
    precision: str = key("bf16", choices=("no", "bf16"))
    log_every: int = key(20, low=1)
    validate_every: int = key(250, low=1)
    minutes: float = key(10.0, low=0.0)


@dataclass
class Loop:
    """A network in training. prepared: it as accelerate runs it; ema: the moving average of its parameters, or None."""

    options: LoopRun
    optimizer: Optimizer
    accelerator: Any
    prepared: Any
    optimizers: list[Any]
    rates: Rates
    parameters: list[nn.Parameter]
    ema: Any
    progress: Progress
    log: LossLog

    @property
    def output(self) -> Path:
        return Path(self.options.output)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the averaged weights in place of the trained ones."""
        if self.ema:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        try:
            yield
        finally:
            if self.ema:
                self.ema.restore(self.parameters)

    def run(self, batches: Dataset, forward: Callable[[Any], dict[str, Tensor]], look: Callable[[], dict[str, Any]]) -> bool:
        """Take the steps that are left. Returns whether the run is finished: a run that is asked to stop saves, and is not.

        batches: batch i is that of step i. forward: a batch's "loss", and what else is logged with it. look: what is logged every
        `validate_every` steps, with the averaged weights in place.
        """
        options, progress = self.options, self.progress
        saved, sums, counted = time.monotonic(), dict[str, float](), 0
        with stop_signals() as stop:
            for batch in DataLoader(batches, batch_size=None, sampler=Positions(progress.step, options.steps)):
                values = self.step(batch, forward)
                sums, counted = {name: sums.get(name, 0.0) + value for name, value in values.items()}, counted + 1
                last = progress.step == options.steps
                if progress.step % options.log_every == 0:
                    check_loss(sums["loss"], progress.step)
                    means = {name: value / counted for name, value in sums.items()}
                    self.log.add(step=progress.step, cpu=time.process_time(), wall=time.time(), **means)
                    sums, counted = {}, 0
                if stop.asked or last or time.monotonic() - saved > 60 * options.minutes:
                    save_checkpoint(self.accelerator, self.output, progress.step, KEPT)
                    saved = time.monotonic()
                if last or (progress.step % options.validate_every == 0 and not stop.asked):
                    with self.averaged():
                        self.log.add(step=progress.step, **look())
                if stop.asked:
                    logging.warning("Stopped and saved at step %d; the same command resumes.", progress.step)
                    return False
        return True

    def step(self, batch: Any, forward: Callable[[Any], dict[str, Tensor]]) -> dict[str, float]:
        """Take one step; gives what `forward` gave."""
        options = self.options
        self.rates.set(share_of_rate(self.progress.step, options.steps, self.optimizer.warmup, options.decay))
        with self.accelerator.autocast():
            out = forward(batch)
        self.accelerator.backward(out["loss"])
        self.accelerator.clip_grad_norm_(self.parameters, self.optimizer.clip_norm or float("inf"))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.parameters)
        self.progress.step += 1
        return {name: value.item() for name, value in out.items()}


def make_accelerator(options: LoopRun) -> Any:
    from accelerate import Accelerator

    return Accelerator(mixed_precision=mixed_precision(options.precision), step_scheduler_with_optimizer=False)


def make_loop(
    options: LoopRun, optimizer: Optimizer, accelerator: Any, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> Loop:
    """The loop at the last checkpoint in the output folder, if there is one."""
    output, progress = Path(options.output), Progress()
    prepared, *ready = accelerator.prepare(network, *optimizers)
    rates = Rates(ready)  # before a checkpoint brings its own
    parameters = [p for p in prepared.parameters() if p.requires_grad]
    ema = make_ema(optimizer.ema, parameters, accelerator)
    accelerator.register_for_checkpointing(progress, *([ema] if ema else []))
    if found := find_checkpoints(output):
        accelerator.load_state(str(found[-1]))
    output.mkdir(parents=True, exist_ok=True)
    log = LossLog(output)
    log.resume(progress.step)
    return Loop(options, optimizer, accelerator, prepared, ready, rates, parameters, ema, progress, log)
