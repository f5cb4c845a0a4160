"""Which checkpoints Cinemo's loaders list, and which files a name from their lists means."""

import os
from pathlib import Path

import folder_paths

from ... import included
from ...errors import CheckpointError
from ...files.folder import UNET, Bundle, find_weights, read_bundle
from ...models.cinemo.published import PUBLISHED
from ...models.cinemo.published import UNET as UNET_PART
from .. import files


def register_included() -> None:
    """Offer the checkpoint that comes with the pack, listed after the person's own."""
    folder_paths.add_model_folder_path("diffusers", str(included.ROOT))


def unet_choices() -> list[str]:
    """UNet files of "diffusion_models" and UNet folders of "diffusers", by relative name, sorted."""
    return sorted(files.unets())


def bundle_choices() -> list[str]:
    """Folders of "diffusers" that hold a unet/ folder, by relative name, sorted."""
    return sorted(files.bundles())


def unet_default() -> str:
    """The first of `unet_choices` that did not come with the pack, else that, else the published UNet's name.

    With no value at all, running says only that one is missing.
    """
    return _first(unet_choices(), f"{included.NAME}/{UNET}", f"{PUBLISHED.folder}/{UNET}")


def bundle_default() -> str:
    """The first of `bundle_choices` that did not come with the pack, else that, else the published checkpoint's name."""
    return _first(bundle_choices(), included.NAME, PUBLISHED.folder)


def unet_problem(name: object) -> str | None:
    """Why there is no UNet of this name, and what to do, as a sentence; None for a name from `unet_choices`."""
    found = files.unets()
    return None if isinstance(name, str) and name in found else _no_unet(name, found)


def bundle_problem(name: object) -> str | None:
    """Why there is no checkpoint folder of this name, and what to do, as a sentence; None for a name from `bundle_choices`."""
    found = files.bundles()
    return None if isinstance(name, str) and name in found else _no_bundle(name, found)


def resolve_unet(name: str) -> str:
    """Path of the weights file for a name from `unet_choices`. Raises CheckpointError if there is none."""
    found = files.unets()
    if name not in found:
        raise CheckpointError(_no_unet(name, found))
    path = found[name]
    return str(find_weights(path) if os.path.isdir(path) else path)


def resolve_bundle(name: str) -> Bundle:
    """Parts of the checkpoint for a name from `bundle_choices`, or in the folder at an absolute path.

    Raises CheckpointError if there is no such folder, or no single UNet in it.
    """
    found = files.bundles()
    if name not in found and not (isinstance(name, str) and Path(name).is_absolute()):
        raise CheckpointError(_no_bundle(name, found))
    return read_bundle(found.get(name) or name)


def _first(choices: list[str], last: str, missing: str) -> str:
    return next((choice for choice in choices if choice != last), last if last in choices else missing)


def _no_unet(name: object, found: dict[str, Path]) -> str:
    remedy = _choose(found) + PUBLISHED.how_to_get((UNET_PART,))
    return f"There is no UNet {name} in models/diffusion_models or models/diffusers; {remedy}."


def _no_bundle(name: object, found: dict[str, Path]) -> str:
    return f"There is no checkpoint folder {name} in models/diffusers; {_choose(found)}{PUBLISHED.how_to_get()}."


def _choose(found: dict[str, Path]) -> str:
    return "choose one that is listed, or " if found else ""
