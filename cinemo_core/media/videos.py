"""Clips: what PyAV reads as a video, an animated WebP, or a folder of pictures.

Only the frames that are asked for are decoded, and what they depend on. They come turned as the file says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.walk import files_in
from . import pictures
from .errors import BadMedia, reading

if TYPE_CHECKING:
    from PIL import Image

ANIMATED = ".webp"  # a video if it moves, else a picture
SUFFIXES = (".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv", ".y4m")

Choose = Callable[[int], Sequence[int]]  # of a number of frames to those wanted, ascending


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name, or an animated WebP by its first bytes."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or (suffix == ANIMATED and is_animated_webp(path))


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name, animated WebPs excepted."""
    suffix = path.suffix.lower()
    return suffix in pictures.SUFFIXES and not (suffix == ANIMATED and is_animated_webp(path))


def is_animated_webp(path: Path) -> bool:
    """Told from the header alone (RFC 9649, section 2.7), so that a folder of many pictures is looked through quickly."""
    try:
        with path.open("rb") as file:
            start = file.read(21)
    except OSError:
        return False
    return start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and bool(start[20] & 0b10)


def read_frames(path: Path, choose: Choose) -> Iterator[Image.Image]:
    """Frames of a clip, RGB: those that `choose` picks when it is given their number, one at a time.

    Raises BadMedia where the clip cannot be read or breaks off; `choose` may raise it for one that is too short.
    """
    with reading(path):
        if os.path.isdir(path):
            frames = _read_folder(path, choose)
        elif path.suffix.lower() == ANIMATED:
            frames = _read_animation(path, choose)
        else:
            frames = _read_video(path, choose)
        yield from frames


def _read_folder(folder: Path, choose: Choose) -> Iterator[Image.Image]:
    files = sorted(filter(is_picture, files_in(folder)), key=_in_number_order)
    for index in choose(len(files)):
        try:
            yield pictures.read_picture(files[index])
        except BadMedia as error:
            raise BadMedia(folder, f"holds {files[index].name}, which {error.reason}") from error


def _in_number_order(path: Path) -> list[tuple[int, str]]:
    """frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read_animation(path: Path, choose: Choose) -> Iterator[Image.Image]:
    from PIL import Image

    with Image.open(path) as animation:
        for index in choose(getattr(animation, "n_frames", 1)):
            animation.seek(index)
            yield pictures.upright(animation)


def _read_video(path: Path, choose: Choose) -> Iterator[Image.Image]:
    import av

    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise BadMedia(path, "holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # clips are read by several processes already
        stamps = _time_stamps(container)
        wanted = choose(len(stamps))
        found = 0
        for frame in islice(_decode(container, stream, stamps, wanted), len(wanted)):
            yield _turn(frame.to_image(), frame.rotation)
            found += 1
    if found < len(wanted):
        raise BadMedia(path, f"breaks off: only {found} of {len(wanted)} frames can be decoded")


def _time_stamps(container: Any) -> list[int | None]:
    """Of all frames, in order of display, counted from the packets: what headers say of the number is often missing or wrong."""
    stamps = [packet.pts for packet in container.demux(video=0) if packet.size and not packet.is_discard]
    return stamps if None in stamps else sorted(stamps)


def _decode(container: Any, stream: Any, stamps: list[int | None], wanted: Sequence[int]) -> Iterator[Any]:
    """The wanted frames, found by time stamp, or by counting where some frame has none."""
    if None in stamps:
        container.seek(0)
        numbers = set(wanted)
        return (frame for number, frame in enumerate(container.decode(stream)) if number in numbers)
    container.seek(stamps[wanted[0]], stream=stream)
    times = {stamps[index] for index in wanted}
    return (frame for frame in container.decode(stream) if frame.pts in times)


def _turn(picture: Image.Image, degrees: int) -> Image.Image:
    """A picture turned counterclockwise."""
    return picture.rotate(degrees, expand=True) if degrees % 360 else picture
