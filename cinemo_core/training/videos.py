"""Clips out of video files: a folder of them, or a CSV or JSON-lines list with captions; whatever PyAV reads.

Of a video, `frames` frames are taken, every n-th one, n drawn from the interval of the configuration (paper sec. 4.1: 3 to
10), from a start drawn too. The list lies in temporary files, so memory does not grow with the number of videos.
"""

import csv
import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..lists import readable
from .clips import BadClip, Clip
from .config import Data
from .seeds import number

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv", ".y4m", ".3gp")


class Videos:
    """See the module. Raises InputError if there is no such list or folder, or nothing in it."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.listing = Listing(Path(data.path))
        if not len(self.listing):
            raise InputError(f"{data.path} names no videos; put files of {' '.join(SUFFIXES)} there, or rows with a path in the list.")

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
    if path.is_dir():
        yield from folder_rows(path)
    elif not path.is_file():
        raise InputError(f"data.path {path} does not exist; give a folder of videos, or a .csv or .jsonl list of them.")
    elif path.suffix.lower() == ".csv":
        yield from csv_rows(path)
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from json_rows(path)
    else:
        raise InputError(f"data.path {path} is neither a folder nor a .csv or .jsonl list; give one of those.")


def folder_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Videos below a folder, in order; the caption of a.mp4 is in a.txt. Size and time tell a file that was replaced."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES:
                text = path.with_suffix(".txt")
                with readable(text):
                    caption = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
                stat = path.stat()
                yield {"path": str(path), "caption": caption, "size": stat.st_size, "time": stat.st_mtime_ns}


def csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "path" not in (reader.fieldnames or ()):
            raise InputError(f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; name one path and one caption.")
        for row in reader:
            if not row["path"]:
                raise InputError(f"Line {reader.line_num} of {path} has no path; correct it.")
            yield {"path": str(path.parent / row["path"]), "caption": row.get("caption") or ""}


def json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with readable(path), path.open(encoding="utf-8-sig") as file:
        for number_of_line, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield {"path": str(path.parent / row["path"]), "caption": str(row.get("caption") or "")}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InputError(f'Line {number_of_line} of {path} is not {{"path": ..., "caption": ...}}; correct it.') from None


class Timing(NamedTuple):
    """Time stamps of the frames of a video, in order of display; None where the file has none."""

    stamps: list[int] | None
    frames: int


def read_clip(path: Path, data: Data, draw: int) -> Tensor:
    """A clip of a video, uint8 [f, 3, height, width]; `draw` seeds its interval and start. Raises BadClip with the reason."""
    import av

    if not path.is_file():
        raise BadClip(f"{path} does not exist")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadClip(f"{path} holds no video")
            timing = read_timing(container)
            indices = choose_frames(timing.frames, data, draw, path)
            pictures = decode(container, timing, indices)
            frames = [cover(picture, data.width, data.height) for picture in pictures]
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        raise BadClip(f"{path} cannot be decoded ({error})") from None
    if len(frames) < data.frames:
        raise BadClip(f"{path} breaks off: only {len(frames)} of {data.frames} frames could be decoded")
    return torch.stack(frames)


def read_timing(container: Any) -> Timing:
    """The frames that a video has, counted from its packets: what headers say of the number is often missing or wrong."""
    stamps = [packet.pts for packet in container.demux(video=0) if packet.size and not packet.is_discard]
    if any(stamp is None for stamp in stamps):
        return Timing(None, len(stamps))
    return Timing(sorted(stamps), len(stamps))


def choose_frames(count: int, data: Data, draw: int, path: Path) -> range:
    """The frames to take of `count`: interval and start drawn evenly from those that fit. Raises BadClip if none does."""
    shortest, longest = data.interval
    fits = min(longest, (count - 1) // (data.frames - 1))
    if fits < shortest:
        raise BadClip(f"{path} has {count} frames, too few for {data.frames} at an interval of {shortest}")
    interval = shortest + number(draw, "interval") % (fits - shortest + 1)
    length = (data.frames - 1) * interval + 1
    start = number(draw, "start") % (count - length + 1)
    return range(start, start + length, interval)


def decode(container: Any, timing: Timing, indices: range) -> Iterator[Any]:
    """The frames of these numbers as pictures; of the rest, only what decoding needs is decoded."""
    stream = container.streams.video[0]
    stream.thread_type = "NONE"
    if timing.stamps is None:
        wanted = set(indices)
        container.seek(0)
        chosen = (frame for i, frame in enumerate(container.decode(stream)) if i in wanted)
    else:
        stamps = {timing.stamps[i] for i in indices}
        container.seek(timing.stamps[indices[0]], stream=stream)
        chosen = (frame for frame in container.decode(stream) if frame.pts in stamps)
    for _, frame in zip(indices, chosen, strict=False):
        yield turn(frame.to_image(), frame.rotation)


def turn(picture: Any, degrees: int) -> Any:
    """A picture turned counterclockwise, as the file says that it is to be shown."""
    return picture.rotate(degrees, expand=True) if degrees % 360 else picture


def cover(picture: Any, width: int, height: int) -> Tensor:
    """Scale a picture until it fills the size, cut the rest off evenly: uint8 [3, height, width]."""
    import numpy as np
    from PIL import Image

    scale = max(width / picture.width, height / picture.height)
    left, top = max(0.0, (picture.width - width / scale) / 2), max(0.0, (picture.height - height / scale) / 2)
    box = (left, top, picture.width - left, picture.height - top)
    resized = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
