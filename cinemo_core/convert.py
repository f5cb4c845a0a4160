"""Writes a checkpoint of one of the families as one safetensors file under LDM names, which ComfyUI maps from disk.

    python -m cinemo_core.convert SRC DST.safetensors [--dtype fp16|bf16|fp32|keep] [--force]

SRC is a checkpoint folder in diffusers layout, a UNet folder, a folder of an Animate Anyone set, or a weights file. What is written: of
Cinemo the UNet; of DynamiCrafter the network, and VAE, text and image encoder as far as SRC holds them; of Animate Anyone all networks.

Memory holds one tensor at a time; converting to another type takes the file's size once more on the disk. The result appears under its
name only when it is whole.
"""

import argparse
import json
import mmap
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .errors import CheckpointError, CinemoError, InputError
from .files.checkpoint import SAFETENSORS, read_names, read_state_dict
from .files.folder import UNET, find_weights, weights_in
from .files.mode import allow_others
from .models.families import FAMILIES
from .models.family import Family
from .models.file_set import read_set
from .models.recognise import recognise
from .models.sd_unet.keys import LDM_PREFIX

FORMAT_VERSION = "1"
TARGET_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "keep": None}


def convert(
    source: Path | Sequence[Path], target: Path, dtype: torch.dtype | None, force: bool, progress: Callable[[int, int], None]
) -> None:
    """Write `target` from `source`, which may be the files of a set, in `dtype`, or in each tensor's own if None.

    progress gets bytes converted and bytes to convert; it is not called where nothing changes its type.
    Raises CheckpointError for a source that does not hold a whole network of one of the families, InputError for a target that
    cannot be written.
    """
    if target.suffix.lower() not in SAFETENSORS:
        raise InputError(f"{target} does not end in .safetensors; give the file to write such a name.")
    if os.path.exists(target) and not force:
        raise InputError(f"{target} exists; choose another name, or pass --force to replace it.")
    if not os.path.isdir(target.parent):
        raise InputError(f"{target.parent} is not a folder; create it first.")
    where, tensors = read_source(source)
    family, network, config = recognise(where, tensors)
    if others := family.other_parts(tensors):
        network = {LDM_PREFIX + name: tensor for name, tensor in network.items()} | others
    types = {name: t.dtype if dtype is None or not t.is_floating_point() else dtype for name, t in network.items()}
    metadata = {
        "format": "pt",
        "cinemo.format_version": FORMAT_VERSION,
        "cinemo.source_layout": layout_of(tensors),
        "cinemo.dtype": next((name for name, d in TARGET_DTYPES.items() if d is dtype), "keep"),
        "cinemo.config": json.dumps(asdict(config)),
    }
    check_space(target.parent, network, types)
    with cast(network, types, target.parent, progress) as ready, replaced_when_whole(target) as part:
        try:
            save_file(ready, part, metadata)
        except SafetensorError as error:
            raise InputError(f"{target} cannot be written ({error}); free some space or choose another disk.") from None


def read_source(source: Path | Sequence[Path]) -> tuple[Path, dict[str, Tensor]]:
    """Where the network's tensors are, and these. Raises CheckpointError if there are none, or a set is not whole."""
    if isinstance(source, Path):
        folder, files = source, weights_in(source) if os.path.isdir(source) else []
    else:
        folder, files = source[0].parent, list(source)
    family = family_of_set(files)
    if family is not None and family.join is not None:
        return folder, read_set(files, str(folder), family.join, read_state_dict)
    weights = find_unet(folder)
    return weights, read_state_dict(weights)


def family_of_set(files: Iterable[Path]) -> Family | None:
    """The family that is published in several files of which these hold one; None if they hold none."""
    for file in files:
        try:
            names = read_names(file)
        except CheckpointError:
            continue  # reading the set says so, if it matters
        if family := next((family for family in FAMILIES if family.is_part(names)), None):
            return family
    return None


def find_unet(source: Path) -> Path:
    """The UNet's weights file for a checkpoint folder, a UNet folder or a file. Raises CheckpointError if there is none."""
    if not os.path.exists(source):
        raise CheckpointError(f"{source} does not exist or cannot be reached; give a checkpoint folder, a UNet folder or a weights file.")
    if not os.path.isdir(source):
        return source
    return find_weights(source / UNET if os.path.isdir(source / UNET) else source)


def layout_of(keys: Iterable[str]) -> str:
    if any(key.startswith(LDM_PREFIX) for key in keys):
        return "ldm, prefixed"
    return "ldm" if any("input_blocks." in key for key in keys) else "diffusers"


def check_space(folder: Path, tensors: Mapping[str, Tensor], types: Mapping[str, torch.dtype]) -> None:
    """Raise InputError unless the disk holds the file and, next to it, what is converted."""
    sizes = {name: tensor.numel() * types[name].itemsize for name, tensor in tensors.items()}
    needed = sum(sizes.values()) + sum(sizes[name] for name, tensor in tensors.items() if tensor.dtype != types[name])
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; free some space or choose another disk."
        )


@contextmanager
def cast(
    tensors: Mapping[str, Tensor], types: Mapping[str, torch.dtype], folder: Path, progress: Callable[[int, int], None]
) -> Iterator[dict[str, Tensor]]:
    """The tensors in their types, contiguous and each with memory of its own, as safetensors takes them.

    It takes them all at once. What must be copied goes into a temporary file that serves as memory, so that a checkpoint
    may be larger than the memory. Raises CheckpointError for values that float16 cannot hold.
    """
    ready, copied, addresses = {}, [], set()
    for name, tensor in tensors.items():
        whole = tensor.dtype == types[name] and tensor.is_contiguous() and tensor.data_ptr() not in addresses
        addresses.add(tensor.data_ptr())
        if whole or not tensor.numel():
            ready[name] = tensor.to(types[name])
        else:
            copied.append(name)
    copied.sort(key=lambda name: -types[name].itemsize)  # the widest first: each is then aligned
    total = sum(tensors[name].numel() * types[name].itemsize for name in copied)
    with tempfile.TemporaryFile(dir=folder) as file:
        reserve(file.fileno(), total)
        memory = mmap.mmap(file.fileno(), total) if total else None
        done = percent = 0
        for name in copied:
            tensor = tensors[name]
            out = torch.frombuffer(memory, dtype=types[name], count=tensor.numel(), offset=done).reshape(tensor.shape)
            out.copy_(tensor)
            if out.dtype == torch.float16 != tensor.dtype and out.isinf().any() and not tensor.isinf().any():
                raise CheckpointError(
                    f"{name} reaches {tensor.abs().max():.3g}, more than float16 holds; convert with --dtype bf16 or fp32."
                )
            ready[name] = out
            done += out.nbytes
            if 100 * done // total > percent:
                percent = 100 * done // total
                progress(done, total)
        yield ready


def reserve(file: int, size: int) -> None:
    """Make an open file this large, with its space on the disk: the system kills a process that writes to mapped memory without."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)  # Windows reserves it


@contextmanager
def replaced_when_whole(target: Path) -> Iterator[Path]:
    """A temporary file next to the target to write to; it takes the target's place when it is on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        allow_others(Path(name))
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def show_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{100 * done // total} % of {total / 1e6:,.0f} MB converted", end=end, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cinemo_core.convert", description="Write a checkpoint as one safetensors file.")
    parser.add_argument("source", type=Path, metavar="SRC", help="checkpoint folder, UNet folder, folder of a set, or weights file")
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
