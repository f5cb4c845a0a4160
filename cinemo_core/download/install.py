"""Puts the published checkpoint into a folder: only the files that the pack needs, each verified, the UNet as one safetensors file.

Downloads are collected in a hidden folder next to them, which ComfyUI does not list, and move to their place when they are whole and
verified. Files that lie in place already are compared, never replaced and never removed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..convert import TARGET_DTYPES, convert, show_progress
from ..errors import CheckpointError, InputError
from ..files.checkpoint import read_metadata
from ..models.published import Published
from .hub import RemoteFile, Repository, fetch, is_whole, list_repository

SCRATCH = ".download"


class Request(NamedTuple):
    """What to install. `endpoint` None is the hub itself; `dtype` is a name in convert.TARGET_DTYPES."""

    published: Published
    folder: Path
    endpoint: str | None
    dtype: str
    keep_original: bool
    image_vae: bool


class Plan(NamedTuple):
    """What is left to do: files to put into place, and whether to convert the UNet, from `original` if that is in place."""

    missing: list[RemoteFile]
    convert: bool
    original: RemoteFile

    @property
    def downloads(self) -> list[RemoteFile]:
        return [*self.missing, self.original] if self.convert and self.original not in self.missing else self.missing


def install(request: Request, say: Callable[[str], None]) -> None:
    """Make `request.folder` a checkpoint that Cinemo Bundle Loader loads. Does nothing where nothing is missing.

    Raises DownloadError (hub, network, checksum), InputError (folder, disk space, files of other content) or CheckpointError
    (an UNet that cannot be converted).
    """
    repository = list_repository(request.published, request.endpoint)
    say(f"{request.published.repository} at {repository.endpoint}, commit {repository.commit[:12]}, into {request.folder}")
    plan = make_plan(request, repository)
    if not plan.missing and not plan.convert:
        say("Nothing to do: the converted UNet is there, and every other file has the checksum that the hub lists.")
        return
    with scratch_folder(request.folder) as scratch:
        source = request.folder / plan.original.path
        downloads = [file for file in plan.downloads if file is not plan.original or not source.exists()]
        say(check_space(request.folder, downloads, scratch, plan.original.size if plan.convert else 0))
        for file in downloads:
            fetch(repository, file, partial(scratch, file))
            say(f"verified {file.path}, {file.size:,} bytes, {file.describe_digest()}")
        for file in plan.missing:
            if file is not plan.original:
                move(partial(scratch, file), request.folder / file.path)
        if plan.convert:
            convert_unet(request, source if source.exists() else partial(scratch, plan.original), say)
        if plan.original in plan.missing:
            move(partial(scratch, plan.original), source)


def converted(request: Request) -> Path:
    """Where the network goes as one safetensors file."""
    return request.folder / request.published.network.folder / "diffusion_pytorch_model.safetensors"


def make_plan(request: Request, repository: Repository) -> Plan:
    """Compare the folder with the repository. Raises InputError where a file of another content is in the way."""
    wanted = [
        path for part in (*request.published.parts, *((request.published.image_vae,) if request.image_vae else ())) for path in part.files
    ]
    original = repository.find(request.published.network.files[1])
    missing = []
    for path in wanted:
        if path.endswith("config.json") and path not in repository.files:
            continue  # the loaders ask for the one that they need
        file = repository.find(path)
        place = request.folder / path
        if place.exists():
            if not is_whole(place, file):
                raise InputError(
                    f"{place} differs from the published file ({file.describe_digest()}); move it away, or choose another --name."
                )
        elif file is not original or request.keep_original:
            missing.append(file)
    return Plan(missing, not is_converted(converted(request), request.dtype), original)


def is_converted(target: Path, dtype: str) -> bool:
    """Whether the converted file is there in the wanted type. Raises InputError if it is there in another, or unreadable."""
    if not target.exists():
        return False
    try:
        found = read_metadata(target).get("cinemo.dtype", "another type")
    except CheckpointError as error:
        raise InputError(f"{error} To convert it again, delete it first.") from None
    if found != dtype:
        raise InputError(f"{target} holds {found}, expected {dtype}; delete it to convert it again, or pass the --dtype that it has.")
    return True


def check_space(folder: Path, downloads: list[RemoteFile], scratch: Path, converted: int) -> str:
    """How much is still to download, as a line; converted: bytes of the file that is to be converted.

    Raises InputError if the disk cannot hold it all.
    """
    there = [partial(scratch, file) for file in downloads]
    needed = sum(file.size for file in downloads) - sum(path.stat().st_size for path in there if path.exists())
    free = shutil.disk_usage(scratch).free  # half of `converted` twice for a half type: the file, and what is converted
    sizes = f"{needed / 1e9:.2f} to download, {converted / 1e9:.2f} for the converted file"
    if free < needed + converted:
        raise InputError(
            f"{folder} has {free / 1e9:.2f} GB free, {(needed + converted) / 1e9:.2f} GB are needed ({sizes}); "
            "free some space, or choose another disk with --dest."
        )
    return f"{len(downloads)} files, GB: {sizes}, {free / 1e9:.2f} free"


def convert_unet(request: Request, source: Path, say: Callable[[str], None]) -> None:
    target = converted(request)
    target.parent.mkdir(exist_ok=True)
    convert(source, target, TARGET_DTYPES[request.dtype], False, show_progress)
    say(f"converted {target.relative_to(request.folder).as_posix()}, {target.stat().st_size:,} bytes, {request.dtype}")


def partial(scratch: Path, file: RemoteFile) -> Path:
    """Where a file gathers: named by its checksum, so that a new commit never continues an old file."""
    return scratch / f"{file.digest[:16]}{Path(file.path).suffix}"


def move(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    os.replace(source, target)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """The hidden folder for downloads, for this process alone; removed if all goes well, else kept for the next run.

    Raises InputError if it cannot be made or is in use.
    """
    from filelock import FileLock, Timeout  # huggingface_hub needs it too

    scratch = folder / SCRATCH
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        lock = FileLock(scratch / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another download into {folder} is running; wait for it.") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another place with --dest.") from None
    try:
        yield scratch
    finally:
        lock.release()
    shutil.rmtree(scratch)
