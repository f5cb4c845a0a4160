"""The scenes as a source of clips for the trainer."""

import hashlib
from pathlib import Path

from ....files.walk import files_in
from ...clips import Clip
from ...config import Data
from .clip import render_clip
from .textures import read_photographs


class ProceduralClips:
    """Clips that are computed: number i is the scene of seed `data.seed` + i, some with a photograph as backdrop."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.photographs = read_photographs(Path(data.photographs)) if data.photographs else ()

    def __len__(self) -> int:
        return self.data.clips

    def clip(self, index: int, draw: int) -> Clip:
        data = self.data
        return Clip(*render_clip(data.seed + index, data.width, data.height, data.frames, self.photographs))

    def identity(self) -> str:
        """Of the code that makes them and of the photographs."""
        code = sorted(Path(__file__).parent.rglob("*.py"))
        photographs = files_in(self.data.photographs) if self.data.photographs else []
        digest = hashlib.sha256(b"".join(map(content, (*code, *photographs)))).hexdigest()
        return f"procedural {digest}"


def content(path: Path) -> bytes:
    """Of a file; nothing of one that cannot be read, which is not among the photographs either."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
