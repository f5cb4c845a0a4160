"""Clips out of video files: a folder of them, or a CSV or JSON-lines list with captions (`cinemo_core.media` says what is read).

Of a video, `frames` frames are taken, every n-th one, n drawn from the interval of the configuration (paper sec. 4.1: 3 to
10), from a start drawn too. The list is kept in temporary files, so memory does not grow with the number of videos.
"""

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files.text import read_rows, read_text
from ..files.walk import files_below
from ..media.errors import BadMedia
from ..media.pictures import cover
from ..media.videos import ANIMATED, SUFFIXES, is_video, read_frames
from .clips import Clip
from .config import Data
from .seeds import number


class Videos:
    """See the module. Raises InputError if there is no such list or folder, or nothing in it."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.listing = Listing(Path(data.path))
        if not len(self.listing):
            kinds = " ".join((*SUFFIXES, ANIMATED))
            raise InputError(f"{data.path} names no videos; put files of {kinds} there, or rows with a path in the list.")

    def __len__(self) -> int:
        return len(self.listing)

    def clip(self, index: int, draw: int) -> Clip:
        row = self.listing[index]
        frames = read_clip(Path(row["path"]), self.data, draw)
        return Clip(frames, row["caption"])

    def identity(self) -> str:
        return f"videos {self.listing.digest}"


class Listing:
    """Rows of path and caption by number, read from temporary files of their text and their offsets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read()

    def _read(self) -> None:
        digest = hashlib.sha256()
        with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as offsets:
            for row in rows(self.path):
                line = json.dumps(row).encode()
                digest.update(line + b"\n")
                offsets.write(text.tell().to_bytes(8, "little"))
                text.write(line)
            offsets.write(text.tell().to_bytes(8, "little"))
            self.count = offsets.tell() // 8 - 1
            self.digest = digest.hexdigest()
            self.text, self.offsets = map_file(text), map_file(offsets)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, str]:
        start, end = (int.from_bytes(self.offsets[8 * i : 8 * i + 8], "little") for i in (index, index + 1))
        return json.loads(self.text[start:end])

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._read()


def map_file(file: IO[bytes]) -> mmap.mmap | bytes:
    """What was written, mapped: the mapping outlives the file's name and handle, and workers may share it."""
    file.flush()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b""


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Every video with its caption. Raises InputError for a list that cannot be read."""
    if os.path.isdir(path):
        yield from folder_rows(path)
    elif os.path.isfile(path):
        for row in read_rows(path, ("path",)):
            yield {"path": str(path.parent / row.values["path"]), "caption": str(row.values.get("caption") or "")}
    else:
        raise InputError(f"data.path {path} does not exist or cannot be reached; give a folder of videos, or a .csv or .jsonl list.")


def folder_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Videos below a folder, in order; the caption of a.mp4 is in a.txt. A replaced file shows by its size and time."""
    for path in filter(is_video, files_below(folder)):
        text = path.with_suffix(".txt")
        caption = read_text(text).strip() if os.path.isfile(text) else ""
        yield {"path": str(path), "caption": caption, **version_of(path)}


def version_of(path: Path) -> dict[str, int]:
    """Size and time of a file; nothing of one that cannot be reached, which is a bad clip later."""
    try:
        stat = path.stat()
    except OSError:
        return {}
    return {"size": stat.st_size, "time": stat.st_mtime_ns}


def read_clip(path: Path, data: Data, draw: int) -> Tensor:
    """A clip of a video, uint8 [f, 3, height, width]; `draw` seeds its interval and start. Raises BadMedia with the reason."""
    frames = read_frames(path, lambda count: choose_frames(count, data, draw, path))
    return torch.stack([cover(frame, data.width, data.height) for frame in frames])


def choose_frames(count: int, data: Data, draw: int, path: Path) -> range:
    """The frames to take of `count`: interval and start drawn evenly from those that fit. Raises BadMedia if none does."""
    shortest, longest = data.interval
    fits = min(longest, (count - 1) // (data.frames - 1))
    if fits < shortest:
        raise BadMedia(path, f"has {count} frames, too few for {data.frames} at an interval of {shortest}")
    interval = shortest + number(draw, "interval") % (fits - shortest + 1)
    length = (data.frames - 1) * interval + 1
    start = number(draw, "start") % (count - length + 1)
    return range(start, start + length, interval)
