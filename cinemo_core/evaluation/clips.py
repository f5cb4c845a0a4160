"""Clips of a folder: any video that PyAV decodes, or subfolders of frame images, read as uint8 [f, h, w, 3] of one size.

Which videos are taken and where a window starts depends on the seed and the clip's own name alone, so that a file more or
less in the folder changes nothing for the others.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..files.walk import files_below
from ..media.errors import BadMedia
from ..media.videos import ANIMATED, SUFFIXES, is_picture, is_video, read_frames
from ..resize import resize_image


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
        """The clip as uint8 [frames, height, width, 3]. Raises BadMedia with the reason if it cannot be had."""
        frames = read_frames(clip.path, lambda count: self.window(clip, count))
        return np.stack([self.fit(np.array(frame)) for frame in frames])

    def window(self, clip: Clip, available: int) -> range:
        """The frames to take of a clip. Raises BadMedia if it has too few."""
        span = (self.frames - 1) * self.stride + 1
        if available < span:
            raise BadMedia(clip.path, f"has {available} frames, {span} are needed")
        start = draw(self.seed, f"start of {clip.name}") % (available - span + 1) if self.random_start else 0
        return range(start, start + span, self.stride)

    def fit(self, frame: np.ndarray) -> np.ndarray:
        """A picture, uint8 [h, w, 3], brought to the reader's size."""
        if frame.shape[:2] == (self.height, self.width):
            return frame
        image = torch.from_numpy(frame)[None].float() / 255  # h w c -> 1 h w c
        return (resize_image(image, self.width, self.height, self.resize)[0] * 255).round().to(torch.uint8).numpy()


def find_clips(folder: Path) -> list[Clip]:
    """All clips below a folder: videos, and folders that hold pictures. Raises InputError if there are none."""
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is not a folder, or cannot be reached; give one with videos, or with subfolders of frame images.")
    files = list(files_below(folder))
    clips = [Clip(path.relative_to(folder).with_suffix("").as_posix(), path) for path in files if is_video(path)]
    folders = {path.parent for path in files if is_picture(path)} - {folder}
    clips += [Clip(path.relative_to(folder).as_posix(), path) for path in folders]
    if not clips:
        videos = ", ".join((*SUFFIXES, f"animated {ANIMATED}"))
        raise InputError(f"{folder} holds no clips; expected video files ({videos}) or subfolders of frame images.")
    clips.sort(key=lambda clip: str(clip.path))
    named: dict[str, Path] = {}
    for clip in clips:
        if clip.name in named:
            raise InputError(f"{clip.path} and {named[clip.name]} have the same name, by which clips are known; rename or remove one.")
        named[clip.name] = clip.path
    return clips


def shuffled(clips: Iterable[Clip], seed: int) -> list[Clip]:
    """The clips in an order drawn by the seed, the same on every machine."""
    return sorted(clips, key=lambda clip: (draw(seed, f"place of {clip.name}"), clip.name))


def draw(seed: int, text: str) -> int:
    """A whole number that looks random and depends only on the seed and the text."""
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode(errors="surrogateescape")).digest()[:8], "big")
