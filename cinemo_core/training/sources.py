"""Sources of clips. A source gives the clip of a number, always the same one; it holds no clip in memory.

Clips are uint8 [f, 3, h, w] with a caption. What cannot be read raises BadClip, and the caller takes another in its place.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from ..errors import InputError
from .config import Data


class Clip(NamedTuple):
    """frames: uint8 [f, 3, h, w]."""

    frames: Tensor
    caption: str


class BadClip(Exception):
    """This clip cannot be used; the message is the reason, with the file's name."""


class Source(Protocol):
    def __len__(self) -> int:
        """How many different clips there are."""

    def clip(self, index: int, draw: int) -> Clip:
        """Clip `index`; `draw` seeds what is drawn at random in it, such as its frame interval. Raises BadClip."""

    def identity(self) -> str:
        """A text that changes whenever the clips do."""


def number(*parts: object) -> int:
    """A number of 63 bits that these parts stand for, the same on every machine: the seed of everything drawn at random."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def open_source(data: Data) -> Source:
    """The source that a configuration asks for. Raises InputError where it is not there."""
    if data.source == "procedural":
        return ProceduralClips(data)
    from .videos import Videos

    return Videos(data)


class ProceduralClips:
    """Clips that are computed: number i is the scene of seed `data.seed` + i, some with a photograph as backdrop."""

    def __init__(self, data: Data) -> None:
        from .procedural.textures import read_photographs

        self.data = data
        self.photographs = read_photographs(Path(data.photographs)) if data.photographs else ()

    def __len__(self) -> int:
        return self.data.clips

    def clip(self, index: int, draw: int) -> Clip:
        from .procedural import render_clip

        data = self.data
        return Clip(*render_clip(data.seed + index, data.width, data.height, data.frames, self.photographs))

    def identity(self) -> str:
        """Of the code that makes them and of the photographs."""
        code = sorted((Path(__file__).parent / "procedural").rglob("*.py"))
        photographs = sorted(f for f in Path(self.data.photographs).iterdir() if f.is_file()) if self.data.photographs else []
        digest = hashlib.sha256(b"".join(f.read_bytes() for f in (*code, *photographs))).hexdigest()
        return f"procedural {digest}"


class BadClips:
    """The list of clips that could not be used, a JSON line each; all processes and workers add to the one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, index: int, reason: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"clip": index, "reason": reason}) + "\n")

    def count(self) -> int:
        """How many different clips were bad."""
        if not self.path.is_file():
            return 0
        with self.path.open(encoding="utf-8") as file:
            return len({json.loads(line)["clip"] for line in file})

    def log_count(self) -> None:
        if count := self.count():
            logging.warning("%d clips could not be used and others took their place; %s says why.", count, self.path)


def draw_clip(source: Source, index: int, draw: int, bad_clips: BadClips, attempts: int = 100) -> Clip:
    """Clip `index` of a source; a bad one is noted, and another, chosen by `draw`, takes its place.

    Raises InputError when `attempts` in a row are bad.
    """
    for attempt in range(attempts):
        try:
            return source.clip(index, number(draw, attempt))
        except BadClip as error:
            reason = str(error)
            bad_clips.add(index, reason)
        index = number(draw, "instead", attempt) % len(source)
    raise InputError(f"{attempts} clips in a row could not be used, the last because {reason}; check data.path.")
