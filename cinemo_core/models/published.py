"""What a publisher's repository holds for this pack: which files, into which folder, how large. Standard library only.

The one record behind the download command, the loaders' messages and the README. Sizes are given where the publisher's are known.
"""

from dataclasses import dataclass
from typing import NamedTuple

HUB = "https://huggingface.co"
COMMAND = "python -m cinemo_core.download"


class Part(NamedTuple):
    """One folder of the checkpoint: its weights and a config.json next to them."""

    folder: str
    weights: str
    what: str
    size: str | None = None  # of the weights

    @property
    def files(self) -> tuple[str, str]:
        """Paths in the repository."""
        return f"{self.folder}/config.json", f"{self.folder}/{self.weights}"


@dataclass(frozen=True)
class Published:
    """A checkpoint in diffusers layout.

    folder: its name in models/diffusers; network: the part that is converted; image_vae: a VAE in place of the one among the parts.
    """

    repository: str
    folder: str
    parts: tuple[Part, ...]
    network: Part
    image_vae: Part

    @property
    def page(self) -> str:
        return f"{HUB}/{self.repository}"

    def how_to_get(self, parts: tuple[Part, ...] = ()) -> str:
        """What to do without these parts of the checkpoint, by default all, as the end of a sentence."""
        *first, last = [f"{part.folder}/{f' ({part.size})' if part.size else ''}" for part in parts or self.parts]
        folders = f"{', '.join(first)} and {last}" if first else last
        target = f"models/diffusers/{self.folder}/"
        return f"put {folders} of {self.page} into {target}, or run `{COMMAND}` in the folder of this pack, and press R"

    def table(self) -> str:
        """The files as a Markdown table, as it is in the README and on the loaders' help pages."""
        rows = [("files of the checkpoint", "into", "size of the weights"), ("---", "---", "---")]
        for part in self.parts:
            files = ", ".join(f"`{name}`" for name in part.files)
            rows.append((files, f"`ComfyUI/models/diffusers/{self.folder}/{part.folder}/`", part.size or "see its page"))
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@dataclass(frozen=True)
class PublishedFile:
    """A model in one file. name: what the download command calls it; terms: what its license allows."""

    name: str
    repository: str
    what: str
    file: str
    size: str
    terms: str

    @property
    def page(self) -> str:
        return f"{HUB}/{self.repository}"

    @property
    def target(self) -> str:
        """Its name in models/checkpoints, once downloaded."""
        return f"{self.name}.safetensors"

    def how_to_get(self) -> str:
        """What to do without it, as the end of a sentence."""
        return (
            f"put {self.file} ({self.size}, {self.terms}) of {self.page} into models/checkpoints, or run `{COMMAND} {self.name}` in the "
            "folder of this pack, and press R"
        )


@dataclass(frozen=True)
class PublishedSet:
    """A model in several files. name: what the download command calls it. models, folder: it goes into models/MODELS/FOLDER."""

    name: str
    repository: str
    models: str
    folder: str
    files: tuple[str, ...]
    size: str

    @property
    def page(self) -> str:
        return f"{HUB}/{self.repository}"

    def how_to_get(self) -> str:
        """What to do without it, as the end of a sentence."""
        *first, last = self.files
        return (
            f"put {', '.join(first)} and {last} ({self.size}) of {self.page} into models/{self.models}/{self.folder}, or run "
            f"`{COMMAND} {self.name}` in the folder of this pack, and press R"
        )
