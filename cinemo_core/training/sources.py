"""The sources of clips: which there are, and how a clip is drawn from one."""

import hashlib
from pathlib import Path

from ..errors import InputError
from ..files.walk import files_in
from ..media.errors import BadMedia
from .clips import BadClips, Clip, Source
from .config import Data
from .seeds import number


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
        photographs = files_in(self.data.photographs) if self.data.photographs else []
        digest = hashlib.sha256(b"".join(map(content, (*code, *photographs)))).hexdigest()
        return f"procedural {digest}"


def content(path: Path) -> bytes:
    """Of a file; nothing of one that cannot be read, which is not among the photographs either."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def draw_clip(source: Source, index: int, draw: int, bad_clips: BadClips, attempts: int = 100) -> Clip:
    """Clip `index` of a source; a bad one is noted, and another, chosen by `draw`, takes its place.

    Raises InputError when `attempts` in a row are bad.
    """
    for attempt in range(attempts):
        try:
            return source.clip(index, number(draw, attempt))
        except BadMedia as error:
            reason = str(error)
            bad_clips.add(index, reason)
        index = number(draw, "instead", attempt) % len(source)
    raise InputError(f"{attempts} clips in a row could not be used, the last because {reason}; check data.path.")
