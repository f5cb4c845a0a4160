"""What a run reports: losses as JSON lines and, where TensorBoard is installed, to it through accelerate."""

import importlib.util
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError


class LossLog:
    """`losses.jsonl` in the output folder: one line per report. A resumed run drops the lines past its checkpoint."""

    def __init__(self, output: Path) -> None:
        self.path = output / "losses.jsonl"

    def resume(self, step: int) -> None:
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            self.path.write_text("".join(kept), encoding="utf-8")

    def add(self, **values: float) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def tracker() -> str | None:
    """The name by which accelerate knows the tracker that is installed."""
    return "tensorboard" if importlib.util.find_spec("tensorboard") else None


ADVICE = (
    'lower optimizer.learning_rate, add optimizer.warmup, or train with run.precision = "no" or "bf16". '
    "The last checkpoint is from before; another configuration needs another run.output."
)


def check_loss(loss: float, step: int) -> None:
    """Raise InputError unless the loss is a number."""
    if not math.isfinite(loss):
        raise InputError(f"The loss became {loss} by step {step}; {ADVICE}")


def check_weights(parameters: Iterable[Tensor], step: int) -> None:
    """Raise InputError unless all weights are numbers: so none is saved that is not."""
    if not all(bool(parameter.isfinite().all()) for parameter in parameters):
        raise InputError(f"The weights ceased to be numbers by step {step}; {ADVICE}")


def show_images(accelerator: Any, name: str, image: Any, step: int) -> None:
    """A PIL picture to TensorBoard, if it is there."""
    import numpy as np

    for found in accelerator.trackers:
        if found.name == "tensorboard":
            found.writer.add_image(name, np.asarray(image), step, dataformats="HWC")
