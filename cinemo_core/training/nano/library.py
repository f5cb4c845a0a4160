"""The template pictures decoded once, on disk: a file of uint8 frames for each, mapped into memory when it is read.

A picture that looks like one of the held-out ones under another name (a still of a clip, a picture before and after) is not
trained on either.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .templates import Media, find_templates, is_held_out

LONGEST_SIDE = 512
SMALLEST_SIDE = 192  # icons are left out
THUMBNAIL = 16
ALIKE = 0.95  # correlation of thumbnails
LOOKED_AT = 8  # frames of a clip that are compared


@dataclass(frozen=True)
class Item:
    """A decoded picture or clip. name: of the file that it came from."""

    name: str
    path: Path
    frames: int
    width: int
    height: int

    @property
    def held_out(self) -> bool:
        return is_held_out(self.name)

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [f, h, w, 3], mapped."""
        return np.load(self.path, mmap_mode="r")


class Library:
    """A folder of decoded pictures. Raises InputError where the template packages are missing and nothing is decoded yet.

    most: frames that are kept of a clip, evenly spaced, the first among them; 0 keeps all. With 1, a clip counts as a still.
    """

    def __init__(self, folder: Path, most: int = 0) -> None:
        self.folder = folder
        self.index = folder / "library.json"
        if not self.index.is_file():
            build(folder, self.index, most)
        table = json.loads(self.index.read_text(encoding="utf-8"))
        self.items = [
            Item(row["name"], folder / f"{row['name']}.npy", row["frames"], row["width"], row["height"]) for row in table["items"]
        ]
        self.alike: dict[str, str] = table["alike"]

    @cached_property
    def training(self) -> list[Item]:
        """What may be trained on: neither held out nor like something that is."""
        return [item for item in self.items if not item.held_out and item.name not in self.alike]

    @cached_property
    def held_out_stills(self) -> list[Item]:
        return [item for item in self.items if item.held_out and item.frames == 1]

    @cached_property
    def held_out_clips(self) -> list[Item]:
        return [item for item in self.items if item.held_out and item.frames > 1]


def build(folder: Path, index: Path, most: int) -> None:
    """Decode every picture that is large enough, and find those that look like a held-out one."""
    folder.mkdir(parents=True, exist_ok=True)
    media = [m for m in find_templates() if min(m.width, m.height) >= SMALLEST_SIDE]
    rows = []
    for m in media:
        path = folder / f"{m.name}.npy"
        if not path.is_file():
            decode(m, path, most)
        frames, height, width, _ = np.load(path, mmap_mode="r").shape
        rows.append({"name": m.name, "frames": frames, "width": width, "height": height})
    items = [Item(row["name"], folder / f"{row['name']}.npy", row["frames"], row["width"], row["height"]) for row in rows]
    partial = index.with_name(f".{index.name}.part")
    partial.write_text(json.dumps({"items": rows, "alike": find_alike(items)}, indent=1) + "\n", encoding="utf-8")
    partial.replace(index)


def decode(media: Media, path: Path, most: int) -> None:
    """Write the frames to keep, at most LONGEST_SIDE long, on white where they are transparent; the file appears when it is whole."""
    scale = min(1.0, LONGEST_SIDE / max(media.width, media.height))
    width, height = max(1, round(media.width * scale)), max(1, round(media.height * scale))
    kept = min(most or media.frames, media.frames)
    places = np.linspace(0, media.frames - 1, kept).round().astype(int).tolist()
    partial = path.with_name(f".{path.name}.part")
    frames = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(kept, height, width, 3))
    for i, picture in enumerate(islice(read_frames(media.path), places[-1] + 1)):
        if i in places:
            frames[places.index(i)] = np.asarray(picture.resize((width, height), 1) if scale < 1 else picture)  # 1: Lanczos
    frames.flush()
    partial.replace(path)


def read_frames(path: Path) -> Iterator[Any]:
    """Every frame of a picture file, RGB."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            if frame.mode in ("RGB", "L"):
                yield frame.convert("RGB")
                continue
            frame = frame.convert("RGBA")
            ground = Image.new("RGBA", frame.size, (255, 255, 255, 255))
            ground.alpha_composite(frame)
            yield ground.convert("RGB")


def find_alike(items: list[Item]) -> dict[str, str]:
    """Names of training items -> the held-out item that they look like."""
    held_out = [(item.name, thumbnail) for item in items if item.held_out for thumbnail in thumbnails(item)]
    names, references = [name for name, _ in held_out], np.stack([thumbnail for _, thumbnail in held_out])
    alike = {}
    for item in items:
        if not item.held_out:
            correlation = np.stack(thumbnails(item)) @ references.T
            if correlation.max() > ALIKE:
                alike[item.name] = names[int(correlation.max(axis=0).argmax())]
    return alike


def thumbnails(item: Item) -> list[np.ndarray]:
    """Small grey versions of some frames, of mean 0 and length 1, so that their product is a correlation."""
    from PIL import Image

    pixels, result = item.pixels, []
    for i in np.linspace(0, item.frames - 1, min(item.frames, LOOKED_AT)).round().astype(int):
        small = Image.fromarray(pixels[i]).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        values = np.asarray(small, dtype=np.float64).ravel()
        values -= values.mean()
        result.append(values / max(float(np.linalg.norm(values)), 1e-6))
    return result
