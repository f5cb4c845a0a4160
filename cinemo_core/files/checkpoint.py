"""Reading checkpoint files: what a header says, and memory-mapped state dicts.

Pickles are read with `weights_only`, so no code in them ever runs. A model is recognised by its keys and shapes, never by its name.
"""

import logging
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CheckpointError

if TYPE_CHECKING:
    from safetensors import safe_open

SAFETENSORS = (".safetensors", ".sft")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
SUFFIXES = SAFETENSORS + PICKLES
NESTS = ("ema", "model", "state_dict", "module")  # preferred first; the last is DeepSpeed's
OLD_PICKLES = 4  # torch before version 1.6 wrote three about itself, then the one with the names, then raw numbers

Shapes = Mapping[str, tuple[int, ...]]


@contextmanager
def open_safetensors(path: str | os.PathLike) -> Iterator["safe_open"]:
    """A safetensors file, of which nothing but the header is read yet.

    Raises CheckpointError for a file that is missing, empty, cut short or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    path = _existing(path)
    try:
        with safe_open(path, framework="pt") as file:
            if not file.keys():
                raise CheckpointError(f"{path} holds no tensors; download the file again.")
            yield file
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The texts in the header of a safetensors file. Raises CheckpointError as `open_safetensors` does."""
    with open_safetensors(path) as file:
        return file.metadata() or {}


def read_state_dict(path: str | os.PathLike) -> dict[str, Tensor]:
    """Tensors of a checkpoint file by name, mapped from the file on the CPU, so that nothing is read before it is used.

    A state dict nested under one of `NESTS` is unwrapped. Raises CheckpointError for a file that is
    missing, damaged, of an unknown kind, empty, or a pickle that holds more than tensors and plain values.
    """
    path = _existing(path)
    if path.suffix.lower() in SAFETENSORS:
        with open_safetensors(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return unwrap(_read_pickle(path), path)


def read_names(path: str | os.PathLike) -> set[str]:
    """Names of the tensors of a checkpoint file, quickly: no tensor is read. Of a pickle, every text in it, names among them.

    Nothing in a pickle is run. Raises CheckpointError for a file that is missing or damaged.
    """
    path = _existing(path)
    if path.suffix.lower() in SAFETENSORS:
        with open_safetensors(path) as file:
            return set(file.keys())
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                with archive.open(pickled) as file:
                    return _texts(file)
        with path.open("rb") as file:
            texts: set[str] = set()
            for _ in range(OLD_PICKLES):
                if file.peek(1):
                    texts |= _texts(file)
            if texts:
                return texts
    except Exception:  # what a damaged pickle raises depends on where it is damaged
        logging.debug("Reading %s failed", path, exc_info=True)
    raise _damaged(path)


def read_shapes(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a checkpoint file. Raises CheckpointError as `read_state_dict` does."""
    if Path(path).suffix.lower() in SAFETENSORS:
        with open_safetensors(path) as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes_of(read_state_dict(path))


def shapes_of(state_dict: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state_dict.items()}


def unwrap(loaded: Any, path: str | os.PathLike = "The checkpoint") -> dict[str, Tensor]:
    """The state dict inside what a training script saved: tensors by name, other values dropped.

    Of several nested state dicts the averaged weights ("ema") are taken. Raises CheckpointError if there is none.
    """
    while isinstance(loaded, Mapping):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        nested = [name for name in NESTS if isinstance(loaded.get(name), Mapping)]
        if not nested:
            break
        if len(nested) > 1:
            logging.info("%s holds the weights %s; using %s", path, ", ".join(nested), nested[0])
        loaded = loaded[nested[0]]
    raise CheckpointError(
        f"{path} holds no tensors by name, at its top or under {', '.join(NESTS)}; choose a file that was saved as a state dict."
    )


def compare(found: Shapes, expected: Shapes, what: str) -> None:
    """Raise CheckpointError, naming examples, unless `found` has exactly the names and shapes of `expected`."""
    differences = [
        ("lacks", [name for name in expected if name not in found]),
        ("has the unknown", [name for name in found if name not in expected]),
        (
            "has other shapes for",
            [f"{n} {list(found[n])} instead of {list(s)}" for n, s in expected.items() if n in found and tuple(found[n]) != tuple(s)],
        ),
    ]
    problems = [
        f"{verb} {len(names)} tensors ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})" for verb, names in differences if names
    ]
    if problems:
        raise CheckpointError(
            f"{what} {' and '.join(problems)}: the file is incomplete or of another architecture; download it again or choose another file."
        )


def size_of(shapes: Shapes, name: str, rank: int, what: str) -> tuple[int, ...]:
    """The shape of a tensor that sizes are read from. Raises CheckpointError unless it is there, of this rank, and not empty."""
    shape = tuple(shapes.get(name, ()))
    if len(shape) != rank or not all(shape):
        found = f"has {name} of shape {list(shape)}, expected {rank} dimensions" if name in shapes else f"lacks the tensor {name}"
        raise CheckpointError(f"{what} {found}: the file is incomplete or of another architecture; download it again or choose another.")
    return shape


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path)
    if os.path.isdir(path):
        raise CheckpointError(f"{path} is a folder; choose the weights file in it.")
    if not os.path.isfile(path):
        raise CheckpointError(f"{path} does not exist or cannot be reached; check the path, or refresh the list of files.")
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{path} is not a weights file: its name ends in {path.suffix or 'nothing'}, expected one of {' '.join(SUFFIXES)}."
        )
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); check its permissions and its disk.") from None


def _read_pickle(path: Path) -> Any:
    try:
        # Only the zip form, which torch has written since version 1.6, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        if refused or _calls_code(path):
            raise CheckpointError(
                f"{path} holds Python code or objects{f' ({refused[1]})' if refused else ''} besides tensors, which this pack never runs; "
                "use a .safetensors file, or save the state dict alone."
            ) from None
    except Exception:  # what a damaged pickle raises depends on where it is damaged
        logging.debug("Reading %s failed", path, exc_info=True)
    raise _damaged(path)


def _texts(file: IO[bytes]) -> set[str]:
    """The texts of one pickle. Only its opcodes are read."""
    return {text for op, text, _ in pickletools.genops(file) if isinstance(text, str) and "UNICODE" in op.name}


def _calls_code(path: Path) -> bool:
    """Whether a bare pickle names Python objects. Only its opcodes are read; nothing is run."""
    with path.open("rb") as file:
        try:
            return any(op.name in ("GLOBAL", "STACK_GLOBAL", "INST") for op, _, _ in pickletools.genops(file))
        except Exception:  # damaged in any way, such as a length that no memory holds
            return False


def _damaged(path: Path, reason: str = "") -> CheckpointError:
    """What is wrong with a file, from its first bytes and the reason that safetensors gives."""
    with path.open("rb") as file:
        start = file.read(200)
    if not start:
        return CheckpointError(f"{path} is empty; download the file again.")
    if b"git-lfs" in start:
        return CheckpointError(f"{path} is a Git LFS pointer, not the weights; fetch the file itself (git lfs pull) or download it.")
    if re.match(rb"\s*<[!?a-zA-Z]", start):
        return CheckpointError(f"{path} is a web page, not weights; download the file itself.")
    if re.search(r"incomplete ?metadata|invalid ?header ?length", reason, re.IGNORECASE):
        size = path.stat().st_size
        return CheckpointError(f"{path} has {size:,} bytes, not as many as its header says: the download broke off; download it again.")
    if unknown := re.search(r"unknown variant `(\w+)`|Dtype not understood: (\w+)", reason):
        stored = unknown[1] or unknown[2]
        return CheckpointError(f"{path} stores tensors as {stored}, a type that this pack cannot read; use a float32 or float16 file.")
    return CheckpointError(f"{path} is damaged or not the kind of file that its name says; download it again.")
