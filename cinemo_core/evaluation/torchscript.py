"""Reading and calling networks that others publish, with a clear sentence for files that are something else.

A TorchScript archive holds TorchScript and tensors; torch reads it without Python's pickle, so no Python in it ever runs.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import CheckpointError, InputError
from .weights import NETWORKS


def load(name: str, path: Path, device: torch.device) -> torch.jit.ScriptModule:
    """The TorchScript module in a file. Raises CheckpointError for a file that is none."""
    try:
        return torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise unlike(name, path, f"cannot be read as TorchScript ({reason_of(error)})") from error


def call(name: str, path: Path, network: Callable[..., object], inputs: torch.Tensor, **options: bool) -> torch.Tensor:
    """What a network gives for a batch: one row for each input, [n, d].

    Raises CheckpointError for anything else, InputError where memory does not suffice.
    """
    try:
        output = network(inputs, **options)
    except (RuntimeError, TypeError, torch.jit.Error) as error:
        if "out of memory" in str(error):
            raise InputError(f"There is not memory enough for {list(inputs.shape)} in {path}; choose a smaller --batch-size.") from error
        raise unlike(name, path, f"fails on {list(inputs.shape)} ({reason_of(error)})") from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != len(inputs):
        found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise unlike(name, path, f"gives {found} for {len(inputs)} inputs, expected [{len(inputs)}, {NETWORKS[name].width}]")
    if not output.isfinite().all():
        raise unlike(name, path, "gives NaN or infinite values")
    return output


def unlike(name: str, path: Path, fact: str) -> CheckpointError:
    """The error that a path holds another network than it should. fact: what it does instead."""
    network = NETWORKS[name]
    return CheckpointError(f"{path} is not {network.title}: it {fact}; get {network.what} from {network.where}.")


def reason_of(error: BaseException) -> str:
    """The sentence of an error that says what went wrong; in a traceback of TorchScript it is the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if lines[0].endswith("interpreter.") else 0].split(". ")[0].rstrip(".")
