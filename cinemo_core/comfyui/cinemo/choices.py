"""Which checkpoints Cinemo's loaders list, and which files a name from their lists means."""

import os
from pathlib import Path

import folder_paths

from ... import included
from ...errors import CheckpointError
from ...files.folder import UNET, Bundle, find_weights, read_bundle
from ...models.cinemo.family import CINEMO
from ...models.cinemo.published import PUBLISHED
from ...models.cinemo.published import UNET as UNET_PART
from .. import files


def register_included() -> None:
    """Offer the checkpoint that comes with the pack, listed after the person's own."""
    folder_paths.add_model_folder_path("diffusers", str(included.ROOT))


def unet_choices() -> list[str]:
    """Cinemo's UNets among the files of "diffusion_models" and the folders of "diffusers", by relative name, sorted."""
    return sorted(files.unets_of(CINEMO))


def bundle_choices() -> list[str]:
    """Folders of "diffusers" with a unet/ folder that holds Cinemo's UNet, by relative name, sorted."""
    return sorted(files.bundles_of(CINEMO))


def unet_default() -> str:
    """The first of `unet_choices` that did not come with the pack, else that, else the published UNet's name.

    With no value at all, running says only that one is missing.
    """
    return _first(unet_choices(), f"{included.NAME}/{UNET}", f"{PUBLISHED.folder}/{UNET}")


def bundle_default() -> str:
    """The first of `bundle_choices` that did not come with the pack, else that, else the published checkpoint's name."""
    return _first(bundle_choices(), included.NAME, PUBLISHED.folder)


def unet_problem(name: object) -> str | None:
    """Why there is no UNet of this name, and what to do, as a sentence; None for weights, whatever they hold."""
    return None if isinstance(name, str) and name in files.unets() else _no_unet(name)


def bundle_problem(name: object) -> str | None:
    """Why there is no checkpoint folder of this name, and what to do, as a sentence; None for a folder with a UNet, whatever it holds."""
    return None if isinstance(name, str) and name in files.bundles() else _no_bundle(name)


def resolve_unet(name: str) -> str:
    """Path of the weights of this name; what they hold is checked where they are loaded. Raises CheckpointError if there are none."""
    path = files.unets().get(name)
    if path is None:
        raise CheckpointError(_no_unet(name))
    return str(find_weights(path) if os.path.isdir(path) else path)


def resolve_bundle(name: str) -> Bundle:
    """Parts of the checkpoint folder of this name, or at an absolute path; what they hold is checked where they are loaded.

    Raises CheckpointError if there is no such folder, or no single UNet in it.
    """
    found = files.bundles()
    if name not in found and not (isinstance(name, str) and Path(name).is_absolute()):
        raise CheckpointError(_no_bundle(name))
    return read_bundle(found.get(name) or name)


def _first(choices: list[str], last: str, missing: str) -> str:
    return next((choice for choice in choices if choice != last), last if last in choices else missing)


def _no_unet(name: object) -> str:
    remedy = _choose(unet_choices()) + PUBLISHED.how_to_get((UNET_PART,))
    return f"There is no UNet {name} in models/diffusion_models or models/diffusers; {remedy}."


def _no_bundle(name: object) -> str:
    return f"There is no checkpoint folder {name} in models/diffusers; {_choose(bundle_choices())}{PUBLISHED.how_to_get()}."


def _choose(choices: list[str]) -> str:
    return "choose one that is listed, or " if choices else ""
