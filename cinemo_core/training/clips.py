"""Clips and what gives them. A source gives the clip of a number, always the same one; it holds no clip in memory.

Clips are uint8 [f, 3, h, w] with a caption. What cannot be read raises BadMedia, and the caller takes another in its place.
"""

import json
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor


class Clip(NamedTuple):
    """frames: uint8 [f, 3, h, w]."""

    frames: Tensor
    caption: str


class Source(Protocol):
    def __len__(self) -> int:
        """How many different clips there are."""

    def clip(self, index: int, draw: int) -> Clip:
        """Clip `index`; `draw` seeds what is drawn at random in it, such as its frame interval. Raises BadMedia."""

    def identity(self) -> str:
        """A text that changes whenever the clips do."""


class BadClips:
    """The list of clips that could not be used, a JSON line each; all processes and workers add to the one file.

    A process adds a clip once, however often it comes up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added: set[int] = set()

    def add(self, index: int, reason: str) -> None:
        if index in self.added:
            return
        self.added.add(index)
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
