"""Puts a model that is published as one file into a folder of checkpoints: verified, and written as one safetensors file.

It is collected and resumed as the parts of a folder are; see `install`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..convert import TARGET_DTYPES, convert, show_progress
from ..errors import InputError
from ..models.published import PublishedFile
from .hub import fetch, is_whole, list_repository
from .install import check_space, is_converted, move, partial, scratch_folder


class FileRequest(NamedTuple):
    """What to install. `target` is the safetensors file; `endpoint` None is the hub itself; `dtype` is a name in convert.TARGET_DTYPES."""

    published: PublishedFile
    target: Path
    endpoint: str | None
    dtype: str
    keep_original: bool

    @property
    def original(self) -> Path:
        """Where the published file goes, if it is kept."""
        return self.target.with_suffix(Path(self.published.file).suffix)


def install_file(request: FileRequest, say: Callable[[str], None]) -> None:
    """Make `request.target` a checkpoint that the loader of its family loads. Does nothing where nothing is missing.

    Raises DownloadError (hub, network, checksum), InputError (folder, disk space, files of other content) or CheckpointError
    (a file that cannot be converted).
    """
    repository = list_repository(request.published, request.endpoint)
    folder = request.target.parent
    say(f"{request.published.repository} at {repository.endpoint}, commit {repository.commit[:12]}, into {folder}")
    say(f"These weights are {request.published.terms}.")
    file = repository.find(request.published.file)
    if request.original.exists() and not is_whole(request.original, file):
        raise InputError(
            f"{request.original} differs from the published file ({file.describe_digest()}); move it away, or choose another --name."
        )
    done = is_converted(request.target, request.dtype)
    if done and (request.original.exists() or not request.keep_original):
        say("Nothing to do: the converted file is there.")
        return
    with scratch_folder(folder) as scratch:
        source = request.original if request.original.exists() else partial(scratch, file)
        downloads = [] if request.original.exists() else [file]
        say(check_space(folder, downloads, scratch, 0 if done else file.size))
        for missing in downloads:
            fetch(repository, missing, source)
            say(f"verified {missing.path}, {missing.size:,} bytes, {missing.describe_digest()}")
        if not done:
            convert(source, request.target, TARGET_DTYPES[request.dtype], False, show_progress)
            say(f"converted {request.target.name}, {request.target.stat().st_size:,} bytes, {request.dtype}")
        if request.keep_original and downloads:
            move(source, request.original)
