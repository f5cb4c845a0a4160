"""The loop of nano's stages: asked to stop, it saves and resumes as if nothing had happened, at the last step too."""

import json
import signal
from pathlib import Path

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.training.checkpoints import find_checkpoints
from cinemo_pack.cinemo_core.training.config import Optimizer
from cinemo_pack.cinemo_core.training.nano.loop import LoopRun, make_accelerator, make_loop
from cinemo_pack.cinemo_core.training.optimiser import make_optimizer
from torch.utils.data import Dataset

STEPS = 5
OPTIONS = Optimizer(learning_rate=0.1, warmup=2, ema=0.5, weight_decay=0.0)


class Numbers(Dataset):
    """Batch i is a vector that depends on i alone."""

    def __getitem__(self, step: int) -> torch.Tensor:
        return torch.sin(torch.arange(4.0) + step)


class Run:
    """A loop that trains a linear layer in a folder, and what it has looked at."""

    def __init__(self, folder: Path, stop_at: int = 0, broken_at: int = 0) -> None:
        run = LoopRun(str(folder), STEPS, precision="no", log_every=1, validate_every=2)
        accelerator = make_accelerator(run)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(4, 1)
        self.loop = make_loop(run, OPTIONS, accelerator, self.layer, [make_optimizer(OPTIONS, self.layer, accelerator.device)])
        self.stop_at, self.broken_at = stop_at, broken_at

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        step = self.loop.progress.step + 1
        if step == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        loss = (self.loop.prepared(batch) - 1).square().mean() * (float("nan") if step == self.broken_at else 1.0)
        return {"loss": loss, "size": self.layer.weight.detach().norm()}

    def finish(self) -> bool:
        return self.loop.run(Numbers(), self.forward, lambda: {"looked": self.layer.weight.norm().item()})


def rows(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "losses.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name not in ("cpu", "wall")} for row in lines]


@pytest.fixture
def whole(tmp_path) -> list[dict]:
    assert Run(tmp_path / "whole").finish()
    return rows(tmp_path / "whole")


@pytest.mark.parametrize("stop_at", [1, 3, STEPS])
def test_a_stopped_run_is_saved_and_resumes_exactly(tmp_path, whole, stop_at):
    folder = tmp_path / "parts"
    assert not Run(folder, stop_at).finish()
    assert [path.name for path in find_checkpoints(folder)][-1] == f"step-{stop_at:08}"
    again = Run(folder)
    assert again.loop.progress.step == stop_at and again.finish()
    assert rows(folder) == whole


def test_the_averaged_weights_are_looked_at_and_the_trained_ones_go_on(tmp_path, whole):
    looked = [row for row in whole if "looked" in row]
    assert [row["step"] for row in looked] == [2, 4, STEPS]
    trained = {row["step"]: row["size"] for row in whole if "size" in row}  # before the step
    assert trained[3] != pytest.approx(looked[0]["looked"], rel=1e-4)
    assert [row["step"] for row in whole if "loss" in row] == list(range(1, STEPS + 1))


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path):
    with pytest.raises(InputError, match="The loss became nan by step 2"):
        Run(tmp_path, broken_at=2).finish()
    assert not find_checkpoints(tmp_path)
