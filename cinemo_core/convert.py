"""Writes the UNet of any accepted Cinemo checkpoint as one safetensors file under LDM names, which ComfyUI maps from disk.

    python -m cinemo_core.convert SRC DST.safetensors [--dtype fp16|bf16|fp32|keep] [--force]

SRC is a checkpoint folder in diffusers layout, a UNet folder, or a weights file. Tensors pass through memory one at a
time. The result appears under its name only when it is whole.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from .checkpoint import DTYPES, SAFETENSORS, TensorInfo, read_header, read_state_dict
from .errors import CheckpointError, CinemoError, InputError
from .file_mode import allow_others
from .folder import UNET, find_weights
from .models.cinemo.keys import LDM_PREFIX
from .models.cinemo.recognise import recognise

FORMAT_VERSION = "1"
TARGET_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "keep": None}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
SMALL = 4096  # bytes; tensors up to this size are read at once, so that buffers can be checked
ALIGNMENT = 8  # of the tensors in the file


class Target(NamedTuple):
    """One tensor to write: what stands for it in memory, and the type to write it in."""

    name: str
    tensor: Tensor
    dtype: torch.dtype


def convert(source: Path, target: Path, dtype: torch.dtype | None, force: bool, progress: Callable[[int, int], None]) -> None:
    """Write `target` from `source` in `dtype`, or in each tensor's own if None; progress gets bytes written and in total.

    Raises CheckpointError for a source that is not a whole Cinemo UNet, InputError for a target that cannot be written.
    """
    if target.suffix.lower() not in SAFETENSORS:
        raise InputError(f"{target} does not end in .safetensors; give the file to write such a name.")
    if os.path.exists(target) and not force:
        raise InputError(f"{target} exists; choose another name, or pass --force to replace it.")
    if not os.path.isdir(target.parent):
        raise InputError(f"{target.parent} is not a folder; create it first.")
    weights = find_unet(source)

    with ExitStack() as stack:
        if weights.suffix.lower() in SAFETENSORS:
            tensors, load = open_lazily(weights, stack.enter_context(weights.open("rb")))
        else:
            tensors, load = read_state_dict(weights), lambda tensor: tensor
        unet, config = recognise(weights, tensors)
        targets = [Target(name, t, t.dtype if dtype is None or not t.is_floating_point() else dtype) for name, t in unet.items()]
        targets.sort(key=lambda t: (-t.dtype.itemsize, t.name))  # the widest first: each then lies at a multiple of its size
        header = make_header(
            targets,
            {
                "format": "pt",
                "cinemo.format_version": FORMAT_VERSION,
                "cinemo.source_layout": layout_of(tensors),
                "cinemo.dtype": next((name for name, d in TARGET_DTYPES.items() if d is dtype), "keep"),
                "cinemo.config": json.dumps(asdict(config)),
            },
        )
        size = sum(t.tensor.numel() * t.dtype.itemsize for t in targets)
        free = shutil.disk_usage(target.parent).free
        if free < size + len(header):
            raise InputError(
                f"{target.parent} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are needed; free some space or choose another disk."
            )
        write_atomically(target, lambda file: write_tensors(file, header, targets, load, progress))


def find_unet(source: Path) -> Path:
    """The UNet's weights file for a checkpoint folder, a UNet folder or a file. Raises CheckpointError if there is none."""
    if not os.path.exists(source):
        raise CheckpointError(f"{source} does not exist or cannot be reached; give a checkpoint folder, a UNet folder or a weights file.")
    if not os.path.isdir(source):
        return source
    return find_weights(source / UNET if os.path.isdir(source / UNET) else source)


def open_lazily(path: Path, file: BufferedReader) -> tuple[dict[str, Tensor], Callable[[Tensor], Tensor]]:
    """Stand-ins without data for the tensors of a safetensors file, and a function that reads the tensor one stands for."""
    infos, _ = read_header(path)

    def read(info: TensorInfo) -> Tensor:
        data = bytearray(info.end - info.start)
        file.seek(info.start)
        file.readinto(data)
        return torch.frombuffer(data, dtype=info.dtype).reshape(info.shape)

    tensors = {
        name: read(i) if 0 < i.end - i.start <= SMALL else torch.empty(i.shape, dtype=i.dtype, device="meta") for name, i in infos.items()
    }
    sources = {id(tensor): infos[name] for name, tensor in tensors.items()}
    return tensors, lambda tensor: read(sources[id(tensor)])


def layout_of(keys: Iterable[str]) -> str:
    if any(key.startswith(LDM_PREFIX) for key in keys):
        return "ldm, prefixed"
    return "diffusers" if any(key.startswith("down_blocks.") for key in keys) else "ldm"


def make_header(targets: list[Target], metadata: dict[str, str]) -> bytes:
    """The header of a safetensors file, its length included."""
    header: dict[str, dict] = {"__metadata__": metadata}
    end = 0
    for name, tensor, dtype in targets:
        start, end = end, end + tensor.numel() * dtype.itemsize
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_tensors(
    file: BinaryIO, header: bytes, targets: list[Target], load: Callable[[Tensor], Tensor], progress: Callable[[int, int], None]
) -> None:
    file.write(header)
    done = percent = 0
    total = sum(t.tensor.numel() * t.dtype.itemsize for t in targets)
    for name, stand_in, dtype in targets:
        tensor = load(stand_in)
        out = tensor.to(dtype)
        if dtype == torch.float16 and tensor.dtype != dtype and out.isinf().any() and not tensor.isinf().any():
            raise CheckpointError(f"{name} reaches {tensor.abs().max():.3g}, more than float16 holds; convert with --dtype bf16 or fp32.")
        data = out.contiguous().reshape(-1).view(torch.uint8).numpy().data
        file.write(data)
        done += data.nbytes
        if 100 * done // total > percent:
            percent = 100 * done // total
            progress(done, total)


def write_atomically(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill a temporary file beside the target, and put it in its place only when it is on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        allow_others(Path(name))
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def show_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{100 * done // total} % of {total / 1e6:,.0f} MB", end=end, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cinemo_core.convert", description="Write a Cinemo UNet as one safetensors file.")
    parser.add_argument("source", type=Path, metavar="SRC", help="checkpoint folder, UNet folder or weights file")
    parser.add_argument("target", type=Path, metavar="DST.safetensors", help="file to write")
    parser.add_argument("--dtype", choices=TARGET_DTYPES, default="keep", help="type of the weights in the file (default: as they are)")
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("convert: terminated"))  # so that the temporary file is removed
    try:
        convert(args.source, args.target, TARGET_DTYPES[args.dtype], args.force, show_progress)
    except (CinemoError, OSError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {args.target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
