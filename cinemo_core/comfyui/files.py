"""What ComfyUI's model folders hold, under the names that loader nodes list, and reading one of the files.

Listed again at each call, so that a new file shows up at the next refresh. Names have forward slashes on every system.
"""

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path

import comfy.utils
import folder_paths
import torch

from .. import included
from ..errors import CheckpointError
from ..files.checkpoint import SAFETENSORS, SUFFIXES, read_names, read_shapes, read_state_dict
from ..files.folder import UNET, weights_in
from ..files.walk import folders_in, is_hidden
from ..models.family import Family

MAX_DEPTH = 5  # of a checkpoint in a diffusers folder; a download cache nests three deep
READ_FILES = 4096  # whose kind is remembered
NamesFit = Callable[[set[str]], bool]


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """Tensors of a weights file, mapped from disk: safetensors as ComfyUI maps them, so that it can stream them.

    Raises CheckpointError for a file that cannot be read, before ComfyUI tries.
    """
    if Path(path).suffix.lower() not in SAFETENSORS:
        return read_state_dict(path)
    read_shapes(path)
    return comfy.utils.load_torch_file(path)


def unets() -> dict[str, Path]:
    """UNet files of "diffusion_models" and UNet folders of "diffusers", by relative name."""
    found = weights("diffusion_models")
    for name, folder in _diffusers_folders():
        if os.path.isdir(folder / UNET):
            found.setdefault(f"{name}/{UNET}", folder / UNET)
        else:
            found.setdefault(name, folder)
    return found


def weights(*kinds: str) -> dict[str, Path]:
    """Weights files of these model folders by relative name; of equal names the first."""
    found: dict[str, Path] = {}
    for kind in kinds:
        for name in _listed(kind):
            path = folder_paths.get_full_path(kind, name)
            if path is not None and Path(name).suffix.lower() in SUFFIXES and not is_hidden(Path(name).name):
                found.setdefault(Path(name).as_posix(), Path(path))
    return found


def weights_of(family: Family, *kinds: str) -> dict[str, Path]:
    """Those of `weights` that hold a network of the family, by the names of their tensors; a file that cannot be read is none."""
    return weights_that(family.is_mine, *kinds)


def weights_that(fits: NamesFit, *kinds: str) -> dict[str, Path]:
    """Those of `weights` whose names of tensors fit; a file that cannot be read does not."""
    return {name: path for name, path in weights(*kinds).items() if holds(path, fits)}


def unets_of(family: Family) -> dict[str, Path]:
    """Those of `unets` that hold a network of the family, in any file of a folder."""
    return {name: path for name, path in unets().items() if _any_holds(path, family.is_mine)}


def _any_holds(path: Path, fits: NamesFit) -> bool:
    return any(holds(file, fits) for file in ([path] if os.path.isfile(path) else weights_in(path)))


def holds(path: Path, fits: NamesFit) -> bool:
    """Whether the names of a file's tensors fit. `fits` is one function each time, for what it says of a file is remembered."""
    try:
        status = path.stat()
        return _read_once(path, status.st_mtime_ns, status.st_size, fits)
    except (CheckpointError, OSError) as error:  # tried again at the next listing: a disk may come back
        _report(str(error))
        return False


@functools.lru_cache(maxsize=READ_FILES)
def _read_once(path: Path, modified: int, size: int, fits: NamesFit) -> bool:
    """A file is read again only after it has changed, which its time and size tell."""
    return fits(read_names(path))


@functools.lru_cache(maxsize=READ_FILES)
def _report(reason: str) -> None:
    """Say once why a file is not listed, whichever families look for theirs."""
    logging.warning("Not listed by the loaders of Cinemo's pack: %s", reason)


def _listed(kind: str) -> list[str]:
    """ComfyUI's own list, which raises where a folder's disk went away; then this pack lists none rather than not loading."""
    try:
        return folder_paths.get_filename_list(kind)
    except OSError as error:
        logging.warning("The files of models/%s cannot be listed (%s).", kind, error)
        return []


def bundles() -> dict[str, Path]:
    """Folders of "diffusers" that hold a unet/ folder, by relative name."""
    found: dict[str, Path] = {}
    for name, folder in _diffusers_folders():
        if os.path.isdir(folder / UNET):
            found.setdefault(name, folder)
    return found


def bundles_of(family: Family) -> dict[str, Path]:
    """Those of `bundles` whose UNet is a network of the family."""
    return {name: folder for name, folder in bundles().items() if _any_holds(folder / UNET, family.is_mine)}


def _diffusers_folders() -> list[tuple[str, Path]]:
    """Name and path of every folder that holds unet/ or weights, not looking inside those.

    Links are followed, except to a folder that holds the link; two names of one folder are both listed, as ComfyUI does. The
    pair for evaluation, which a clone of the pack has next to nano, is not for loaders.
    """
    found = []
    for root in map(Path, folder_paths.get_folder_paths("diffusers")):
        waiting = [(root, 0)]
        while waiting:
            folder, depth = waiting.pop(0)
            if os.path.isdir(folder / UNET) or weights_in(folder):
                found.append((folder.relative_to(root).as_posix() if depth else root.name, folder))
            elif depth < MAX_DEPTH and not os.path.isfile(folder / "model_index.json"):  # a pipeline without a UNet
                waiting += [(child, depth + 1) for child in folders_in(folder) if not _holds(child, folder) and child != included.ABLATION]
    return found


def _holds(child: Path, folder: Path) -> bool:
    """Whether a folder's child is a link to the folder itself, or to one above it."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(child))
