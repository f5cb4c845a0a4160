"""What belongs to a generated clip: its caption, from a CSV or JSONL file, and its input image, from a folder."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from .clips import IMAGES, VIDEOS, Clip

COLUMNS = ("video", "caption")
NAMED = 3  # clips named in an error, of those that lack something

T = TypeVar("T")


def read_captions(path: Path) -> dict[str, str]:
    """Captions by clip name, from the columns "video" (path below the folder, suffix optional) and "caption".

    Raises InputError for a file that is missing, of another kind, or has a row without both.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a CSV or JSONL file with {' and '.join(COLUMNS)}.")
    captions = {}
    for number, row in enumerate(_rows(path), start=1):
        if not isinstance(row, Mapping) or not all(isinstance(row.get(column), str) and row[column].strip() for column in COLUMNS):
            raise InputError(f"Row {number} of {path} is {row!r}; every row needs {' and '.join(COLUMNS)}.")
        video = Path(row["video"].strip())
        captions[(video.with_suffix("") if video.suffix.lower() in VIDEOS else video).as_posix()] = row["caption"].strip()
    return captions


def _rows(path: Path) -> Sequence[object]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if path.suffix.lower() == ".jsonl":
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise InputError(f"{path} is not JSONL ({error}); write one JSON object per line.") from None
    raise InputError(f"{path} is neither .csv nor .jsonl; give captions in one of these.")


def find_images(folder: Path) -> dict[str, Path]:
    """Image files below a folder by the name of the clip that they belong to. Raises InputError for a folder without images."""
    images = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGES
    }
    if not images:
        raise InputError(f"{folder} holds no images; give the folder of the input images, each named like its generated clip.")
    return images


def for_clips(clips: Iterable[Clip], found: Mapping[str, T], what: str, where: Path) -> dict[str, T]:
    """`found` for these clips alone. Raises InputError that names clips without a `what` in `where`."""
    lacking = [clip.name for clip in clips if clip.name not in found]
    if lacking:
        some = ", ".join(lacking[:NAMED]) + (", ..." if len(lacking) > NAMED else "")
        raise InputError(f"{len(lacking)} generated clips have no {what} in {where}: {some}; add them, or take these clips away.")
    return {clip.name: found[clip.name] for clip in clips}
