"""The pictures of ComfyUI's template packages: real clips and stills that every ComfyUI has on its disk (MIT).

`comfyui-workflow-templates` brings several hundred animated WebP clips and stills. A fifth of them is held out by name, before
anything is trained: what nano is measured on, it has not seen.
"""

import importlib.util
import zlib
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

PACKAGE = "comfyui_workflow_templates_media_"
SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")
HELD_OUT_EVERY = 5


@dataclass(frozen=True)
class Media:
    """One picture file. frames: 1 for a still. width, height: in pixels."""

    path: Path
    frames: int
    width: int
    height: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def held_out(self) -> bool:
        return is_held_out(self.path.name)


def is_held_out(name: str) -> bool:
    """Whether a file of this name is never trained on: the CRC-32 of its name is a multiple of five."""
    return zlib.crc32(name.encode()) % HELD_OUT_EVERY == 0


def find_templates() -> list[Media]:
    """Every picture of the installed template packages, by name. Raises InputError where there is none.

    A name that several packages carry is taken once.
    """
    found: dict[str, Path] = {}
    spec = importlib.util.find_spec("comfyui_workflow_templates")
    roots = [Path(place).parent for place in (spec.submodule_search_locations or ())] if spec else []
    for root in roots:
        for path in sorted(root.glob(f"{PACKAGE}*/**/*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                found.setdefault(path.name, path)
    if not found:
        raise InputError("No pictures of ComfyUI's templates were found; install ComfyUI's own requirements (comfyui-workflow-templates).")
    return [measure(found[name]) for name in sorted(found)]


def measure(path: Path) -> Media:
    """Its size and number of frames, from the header."""
    from PIL import Image

    with Image.open(path) as image:
        return Media(path, getattr(image, "n_frames", 1), *image.size)
