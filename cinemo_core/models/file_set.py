"""Reading a network of a family that is published in several files."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

Join = Callable[[Mapping[str, Mapping[str, Any]], str], dict[str, Any]]
"""The tensors of files, by file name, as one state dict; the text names where they are, for an error message."""


def read_set(paths: Iterable[Path], where: str, join: Join, read: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """The files joined, in their order. One that cannot be read matters only if a part is missing.

    Raises CheckpointError where the files are not a set, or cannot be read.
    """
    files: dict[str, Mapping[str, Any]] = {}
    unreadable = []
    for path in paths:
        try:
            files[name_of(path, files)] = read(str(path))
        except CheckpointError as error:
            unreadable.append(error)
    try:
        return join(files, where)
    except CheckpointError:
        if unreadable:
            raise unreadable[0] from None
        raise


def name_of(path: Path, others: Iterable[str]) -> str:
    """A file's own name, or its path where files of several folders are called the same."""
    return path.name if path.name not in others else path.as_posix()
