"""Clips of a folder: any video that PyAV decodes, or subfolders of frame images, read as uint8 [f, h, w, 3] of one size.

Which videos are taken and where a window starts hangs on the seed and the clip's own name alone, so that a file more or
less in the folder changes nothing for the others.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..resize import resize_image

VIDEOS = frozenset({".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"})
IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for files that are no images


class BadClipError(Exception):
    """A clip cannot be used; the text says why. The evaluation counts and names it and goes on."""


@dataclass(frozen=True)
class Clip:
    """A video file or a folder of frames. name: the path below the folder given, with forward slashes and no suffix."""

    name: str
    path: Path


@dataclass(frozen=True)
class ClipReader:
    """Reads `frames` frames of a clip, every `stride`-th, from its first one or from a place drawn by seed and name."""

    frames: int
    width: int
    height: int
    resize: str
    stride: int = 1
    random_start: bool = False
    seed: int = 0

    def read(self, clip: Clip) -> np.ndarray:
        """The clip as uint8 [frames, height, width, 3]. Raises BadClipError with the reason if it cannot be had."""
        import av

        try:
            return self._read_folder(clip) if clip.path.is_dir() else self._read_video(clip)
        except (av.FFmpegError, *UNREADABLE) as error:
            raise BadClipError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def _read_video(self, clip: Clip) -> np.ndarray:
        import av

        with av.open(str(clip.path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise BadClipError("has no video stream")
            available = sum(packet.size > 0 for packet in container.demux(video=0))  # reads the file without decoding it
        wanted = self._window(clip, available)
        chosen = []
        with av.open(str(clip.path), metadata_errors="ignore") as container:
            container.streams.video[0].thread_type = "AUTO"
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    chosen.append(self.fit(frame.to_ndarray(format="rgb24")))
                if len(chosen) == self.frames:
                    return np.stack(chosen)
        raise BadClipError(f"breaks off after {len(chosen)} of the {self.frames} frames asked for")

    def _read_folder(self, clip: Clip) -> np.ndarray:
        files = sorted((file for file in clip.path.iterdir() if file.suffix.lower() in IMAGES), key=_in_number_order)
        return np.stack([self.fit(read_image(files[index])) for index in self._window(clip, len(files))])

    def _window(self, clip: Clip, available: int) -> range:
        span = (self.frames - 1) * self.stride + 1
        if available < span:
            raise BadClipError(f"has {available} frames, {span} are needed")
        start = draw(self.seed, f"start of {clip.name}") % (available - span + 1) if self.random_start else 0
        return range(start, start + span, self.stride)

    def fit(self, frame: np.ndarray) -> np.ndarray:
        """A picture, uint8 [h, w, 3], brought to the reader's size."""
        if frame.shape[:2] == (self.height, self.width):
            return frame
        image = torch.from_numpy(frame)[None].float() / 255  # h w c -> 1 h w c
        return (resize_image(image, self.width, self.height, self.resize)[0] * 255).round().to(torch.uint8).numpy()


def find_clips(folder: Path) -> list[Clip]:
    """All clips below a folder: video files, and folders that hold images. Raises InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with videos, or with subfolders of frame images.")
    files = [path for path in folder.rglob("*") if path.is_file()]
    videos = {path for path in files if path.suffix.lower() in VIDEOS}
    frames = {path.parent for path in files if path.suffix.lower() in IMAGES} - {folder}
    clips = [Clip(path.relative_to(folder).with_suffix("").as_posix(), path) for path in videos]
    clips += [Clip(path.relative_to(folder).as_posix(), path) for path in frames]
    if not clips:
        raise InputError(f"{folder} holds no clips; expected video files ({', '.join(sorted(VIDEOS))}) or subfolders of frame images.")
    clips.sort(key=lambda clip: str(clip.path))
    named: dict[str, Path] = {}
    for clip in clips:
        if clip.name in named:
            raise InputError(f"{clip.path} and {named[clip.name]} have the same name; rename or remove one, clips are told by their names.")
        named[clip.name] = clip.path
    return clips


def shuffled(clips: Iterable[Clip], seed: int) -> list[Clip]:
    """The clips in an order drawn by the seed, the same on every machine."""
    return sorted(clips, key=lambda clip: (draw(seed, f"place of {clip.name}"), clip.name))


def draw(seed: int, text: str) -> int:
    """A whole number that looks random and hangs on nothing but the seed and the text."""
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode(errors="surrogateescape")).digest()[:8], "big")


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 [h, w, 3]. Raises one of UNREADABLE where it is none."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _in_number_order(path: Path) -> list[tuple[int, str]]:
    """frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
