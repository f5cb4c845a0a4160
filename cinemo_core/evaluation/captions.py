"""What belongs to a generated clip: its caption, from a CSV or JSONL file, and its input image, from a folder."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import InputError
from ..files.text import read_rows
from ..files.walk import files_below
from ..media.errors import BadMedia
from ..media.pictures import check_picture, read_picture
from ..media.videos import ANIMATED, SUFFIXES, is_picture
from .clips import Clip

COLUMNS = ("video", "caption")
NAMED = 3  # clips named in an error, of those that lack something

T = TypeVar("T")


def read_captions(path: Path) -> dict[str, str]:
    """Captions by clip name, from the columns "video" (path below the folder, suffix optional) and "caption".

    Raises InputError for a file that is missing, of another kind, has a row without both, or two captions for one video.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path} does not exist; give a CSV or JSONL file with {' and '.join(COLUMNS)}.")
    captions: dict[str, str] = {}
    for line, row in read_rows(path, COLUMNS):
        video, caption = Path(row["video"].strip()), row["caption"].strip()
        name = (video.with_suffix("") if video.suffix.lower() in (*SUFFIXES, ANIMATED) else video).as_posix()
        if captions.setdefault(name, caption) != caption:
            raise InputError(f"Line {line} of {path} gives {name} another caption than a line before; keep that of the clip.")
    return captions


def find_images(folder: Path) -> dict[str, Path]:
    """Image files below a folder by the name of the clip that they belong to.

    Raises InputError for a folder without images, and for two of one name.
    """
    images: dict[str, Path] = {}
    for path in sorted(filter(is_picture, files_below(folder))):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in images:
            raise InputError(f"{images[name]} and {path} belong to the same clip; remove one of them.")
        images[name] = path
    if not images:
        raise InputError(f"{folder} holds no images; give the folder of the input images, each named like its generated clip.")
    return images


def check_images(images: Iterable[Path]) -> None:
    """Raise InputError for a file that is no image or is damaged where it can be seen without decoding it."""
    for path in images:
        try:
            check_picture(path)
        except BadMedia as error:
            raise _broken(error) from error


def read_input_image(path: Path) -> np.ndarray:
    """An input image, uint8 [h, w, 3]. Raises InputError for one that cannot be read."""
    try:
        return np.array(read_picture(path))
    except BadMedia as error:
        raise _broken(error) from error


def _broken(error: BadMedia) -> InputError:
    return InputError(f"The input image {error}; replace it.")


def for_clips(clips: Iterable[Clip], found: Mapping[str, T], what: str, where: Path) -> dict[str, T]:
    """`found` for these clips alone. Raises InputError that names clips without a `what` in `where`."""
    lacking = [clip.name for clip in clips if clip.name not in found]
    if lacking:
        some = ", ".join(lacking[:NAMED]) + (", ..." if len(lacking) > NAMED else "")
        raise InputError(f"{len(lacking)} generated clips have no {what} in {where}: {some}; add them, or take these clips away.")
    return {clip.name: found[clip.name] for clip in clips}
