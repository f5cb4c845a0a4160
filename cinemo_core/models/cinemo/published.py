"""The published checkpoint: which files this pack needs, from where, into which folder, how large. Standard library only.

The one table behind the download command, the loaders' messages and the README. Sizes stand where the publisher's are known.
"""

from typing import NamedTuple

REPOSITORY = "maxin-cn/Cinemo"
PAGE = f"https://huggingface.co/{REPOSITORY}"
FOLDER = "Cinemo"  # in models/diffusers; the name that the workflows choose
COMMAND = "python -m cinemo_core.download"


class Part(NamedTuple):
    """One folder of the checkpoint: its weights and a config.json beside them."""

    folder: str
    weights: str
    what: str
    size: str | None = None  # of the weights

    @property
    def files(self) -> tuple[str, str]:
        """Paths in the repository."""
        return f"{self.folder}/config.json", f"{self.folder}/{self.weights}"


UNET = Part("unet", "diffusion_pytorch_model.bin", "the UNet", "3.64 GB")
TEMPORAL_VAE = Part("vae_temporal_decoder", "diffusion_pytorch_model.safetensors", "the temporal VAE", "0.39 GB")
TEXT_ENCODER = Part("text_encoder", "pytorch_model.bin", "the text encoder")
IMAGE_VAE = Part("vae", "diffusion_pytorch_model.bin", "the image VAE")  # instead of the temporal one

PARTS = (UNET, TEMPORAL_VAE, TEXT_ENCODER)


def how_to_get(parts: tuple[Part, ...] = PARTS) -> str:
    """What to do without these parts of the checkpoint, as the end of a sentence."""
    *first, last = [f"{part.folder}/{f' ({part.size})' if part.size else ''}" for part in parts]
    folders = f"{', '.join(first)} and {last}" if first else last
    return f"put {folders} of {PAGE} into models/diffusers/{FOLDER}/, or run `{COMMAND}` in the folder of this pack, and press R"


def table() -> str:
    """The files as a Markdown table, as it stands in the README and on the loaders' help pages."""
    rows = [("files of the checkpoint", "into", "size of the weights"), ("---", "---", "---")]
    for part in PARTS:
        files = ", ".join(f"`{name}`" for name in part.files)
        rows.append((files, f"`ComfyUI/models/diffusers/{FOLDER}/{part.folder}/`", part.size or "see its page"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
