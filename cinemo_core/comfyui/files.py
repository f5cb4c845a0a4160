"""Which checkpoints ComfyUI's model folders hold, under the names that the loader nodes list, and reading one of them.

Listed anew at each call, so that a new file shows up at the next refresh. Names have forward slashes on every system.
"""

import logging
import os
from pathlib import Path

import comfy.utils
import folder_paths
import torch

from .. import included
from ..errors import CheckpointError
from ..files.checkpoint import SAFETENSORS, SUFFIXES, read_shapes, read_state_dict
from ..files.folder import UNET, Bundle, find_weights, read_bundle, weights_in
from ..files.walk import folders_in, is_hidden
from ..models.cinemo import published

MAX_DEPTH = 5  # of a checkpoint in a diffusers folder; a download cache nests three deep


def register_included() -> None:
    """Offer the checkpoint that comes with the pack, behind whatever the person has."""
    folder_paths.add_model_folder_path("diffusers", str(included.ROOT))


def unet_choices() -> list[str]:
    """UNet files of "diffusion_models" and UNet folders of "diffusers", by relative name, sorted."""
    return sorted(_unets())


def bundle_choices() -> list[str]:
    """Folders of "diffusers" that hold a unet/ folder, by relative name, sorted."""
    return sorted(_bundles())


def unet_default() -> str:
    """The first of `unet_choices` that did not come with the pack, else that, else the published UNet's name.

    With no value at all, running says only that one is missing.
    """
    return _first(unet_choices(), f"{included.NAME}/{UNET}", f"{published.FOLDER}/{UNET}")


def bundle_default() -> str:
    """The first of `bundle_choices` that did not come with the pack, else that, else the published checkpoint's name."""
    return _first(bundle_choices(), included.NAME, published.FOLDER)


def unet_problem(name: object) -> str | None:
    """Why a name stands for no UNet, and what to do, as a sentence; None for a name from `unet_choices`."""
    found = _unets()
    return None if isinstance(name, str) and name in found else _no_unet(name, found)


def bundle_problem(name: object) -> str | None:
    """Why a name stands for no checkpoint folder, and what to do, as a sentence; None for a name from `bundle_choices`."""
    found = _bundles()
    return None if isinstance(name, str) and name in found else _no_bundle(name, found)


def resolve_unet(name: str) -> str:
    """Path of the weights file for a name from `unet_choices`. Raises CheckpointError if there is none."""
    found = _unets()
    if name not in found:
        raise CheckpointError(_no_unet(name, found))
    path = found[name]
    return str(find_weights(path) if os.path.isdir(path) else path)


def resolve_bundle(name: str) -> Bundle:
    """Parts of the checkpoint for a name from `bundle_choices`, or in the folder at an absolute path.

    Raises CheckpointError if there is no such folder, or no single UNet in it.
    """
    found = _bundles()
    if name not in found and not (isinstance(name, str) and Path(name).is_absolute()):
        raise CheckpointError(_no_bundle(name, found))
    return read_bundle(found.get(name) or name)


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """Tensors of a weights file, mapped from disk: safetensors as ComfyUI maps them, so that it can stream them.

    Raises CheckpointError for a file that cannot be read, before ComfyUI tries.
    """
    if Path(path).suffix.lower() not in SAFETENSORS:
        return read_state_dict(path)
    read_shapes(path)
    return comfy.utils.load_torch_file(path)


def _first(choices: list[str], last: str, missing: str) -> str:
    return next((choice for choice in choices if choice != last), last if last in choices else missing)


def _no_unet(name: object, found: dict[str, Path]) -> str:
    remedy = _choose(found) + published.how_to_get((published.UNET,))
    return f"There is no UNet {name} in models/diffusion_models or models/diffusers; {remedy}."


def _no_bundle(name: object, found: dict[str, Path]) -> str:
    return f"There is no checkpoint folder {name} in models/diffusers; {_choose(found)}{published.how_to_get()}."


def _choose(found: dict[str, Path]) -> str:
    return "choose one that is listed, or " if found else ""


def _unets() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in _listed("diffusion_models"):
        path = folder_paths.get_full_path("diffusion_models", name)
        if path is not None and Path(name).suffix.lower() in SUFFIXES and not is_hidden(Path(name).name):
            found.setdefault(Path(name).as_posix(), Path(path))
    for name, folder in _diffusers_folders():
        if os.path.isdir(folder / UNET):
            found.setdefault(f"{name}/{UNET}", folder / UNET)
        else:
            found.setdefault(name, folder)
    return found


def _listed(kind: str) -> list[str]:
    """ComfyUI's own list, which raises where a folder's disk went away; then this pack lists none rather than not loading."""
    try:
        return folder_paths.get_filename_list(kind)
    except OSError as error:
        logging.warning("The files of models/%s cannot be listed (%s).", kind, error)
        return []


def _bundles() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, folder in _diffusers_folders():
        if os.path.isdir(folder / UNET):
            found.setdefault(name, folder)
    return found


def _diffusers_folders() -> list[tuple[str, Path]]:
    """Name and path of every folder that holds unet/ or weights, not looking inside those.

    Links are followed, except to a folder that holds the link; two names of one folder are both listed, as ComfyUI does.
    """
    found = []
    for root in map(Path, folder_paths.get_folder_paths("diffusers")):
        waiting = [(root, 0)]
        while waiting:
            folder, depth = waiting.pop(0)
            if os.path.isdir(folder / UNET) or weights_in(folder):
                found.append((folder.relative_to(root).as_posix() if depth else root.name, folder))
            elif depth < MAX_DEPTH and not os.path.isfile(folder / "model_index.json"):  # a pipeline without a UNet
                waiting += [(child, depth + 1) for child in folders_in(folder) if not _holds(child, folder)]
    return found


def _holds(child: Path, folder: Path) -> bool:
    """Whether a folder's child is a link to the folder itself, or to one above it."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(child))
