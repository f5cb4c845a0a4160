"""Puts a model that is published in several files into a folder of its own: verified, and written as one safetensors file.

They are collected and resumed as the parts of a folder are; see `install`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..convert import TARGET_DTYPES, convert, show_progress
from ..errors import InputError
from ..models.published import PublishedSet
from .hub import fetch, is_whole, list_repository
from .install import check_space, is_converted, move, partial, scratch_folder


class SetRequest(NamedTuple):
    """What to install. `endpoint` None is the hub itself; `dtype` is a name in convert.TARGET_DTYPES."""

    published: PublishedSet
    folder: Path
    endpoint: str | None
    dtype: str
    keep_original: bool

    @property
    def target(self) -> Path:
        return self.folder / f"{self.published.name}.safetensors"


def install_set(request: SetRequest, say: Callable[[str], None]) -> None:
    """Make `request.folder` a set that the loader of its family loads. Does nothing where nothing is missing.

    Raises DownloadError (hub, network, checksum), InputError (folder, disk space, files of other content) or CheckpointError
    (files that are no set).
    """
    repository = list_repository(request.published, request.endpoint)
    say(f"{request.published.repository} at {repository.endpoint}, commit {repository.commit[:12]}, into {request.folder}")
    say(f"{request.published.page} says what its license allows.")
    files = {request.folder / Path(name).name: repository.find(name) for name in request.published.files}
    for place, file in files.items():
        if place.exists() and not is_whole(place, file):
            raise InputError(f"{place} differs from the published file ({file.describe_digest()}); move it away, or choose another --name.")
    done = is_converted(request.target, request.dtype)
    missing = {place: file for place, file in files.items() if not place.exists()}
    if done and (not missing or not request.keep_original):
        say("Nothing to do: the converted file is there.")
        return
    with scratch_folder(request.folder) as scratch:
        say(check_space(request.folder, list(missing.values()), scratch, 0 if done else sum(file.size for file in files.values())))
        sources = {place: partial(scratch, file) if place in missing else place for place, file in files.items()}
        for place, file in missing.items():
            fetch(repository, file, sources[place])
            say(f"verified {file.path}, {file.size:,} bytes, {file.describe_digest()}")
        if not done:
            convert(tuple(sources.values()), request.target, TARGET_DTYPES[request.dtype], False, show_progress)
            say(f"converted {request.target.name}, {request.target.stat().st_size:,} bytes, {request.dtype}")
        if request.keep_original:
            for place in missing:
                move(sources[place], place)
