"""What is said of a picture or clip that cannot be used."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BadMedia(Exception):
    """A picture or clip cannot be used. The reason continues a sentence that begins with its name: "has 3 frames, ..."."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises BadMedia for what Pillow and PyAV raise where a file is missing, damaged or of another kind."""
    import av
    from PIL import Image

    try:
        yield
    except FileNotFoundError:
        raise BadMedia(path, "does not exist, or is a link that leads nowhere") from None
    except (
        av.FFmpegError,
        Image.DecompressionBombError,
        OSError,
        EOFError,
        ValueError,
        SyntaxError,
        IndexError,
        OverflowError,
        struct.error,
        zlib.error,
    ) as error:
        raise BadMedia(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
