"""What the Animate Anyone loaders list: sets and their parts, recognised by their tensors, and the files that a choice means."""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import folder_paths
import torch

from ...errors import CheckpointError
from ...files.folder import weights_in
from ...files.walk import folders_in
from ...models.animate_anyone import published_set as parts
from ...models.animate_anyone.family import ANIMATE_ANYONE
from ...models.animate_anyone.published import MODELS, PUBLISHED
from .. import files

FOLDERS = ("diffusion_models", "checkpoints")  # of a set made into one file
PART_FOLDERS = ("diffusion_models", "controlnet")
MAX_DEPTH = 2  # of a set in the model folder: a publisher's repository may have it in a folder of its own
NONE = "none"
# Which files may be what: a set of face re-enactment has motion modules in its UNet, and ReferenceNet with a head.
KINDS = {
    "denoising_unet": (parts.UNET, parts.UNET_IN_TIME),
    "motion_module": (parts.MOTION_MODULE,),
    "reference_unet": (parts.REFERENCE, parts.UNET),
    "pose_guider": (parts.POSE_GUIDER,),
}


@cache
def fitting(part: str) -> files.NamesFit:
    """Whether the names of a file's tensors are those of a part (a name in `KINDS`): one function each time, as `files.holds` asks."""
    return partial(parts.is_one_of, KINDS[part])


def checkpoints() -> dict[str, Path]:
    """Folders of sets in models/animate_anyone, and sets made into one file among the other models, by relative name."""
    found: dict[str, Path] = {}
    for root in roots():
        for folder in _folders_of_sets(root, 0):
            found.setdefault(folder.relative_to(root).as_posix() if folder != root else root.name, folder)
    return found | {name: path for name, path in files.weights_of(ANIMATE_ANYONE, *FOLDERS).items() if name not in found}


def roots() -> list[Path]:
    """models/animate_anyone, and what extra_model_paths.yaml adds to it."""
    own = Path(folder_paths.models_dir, MODELS)
    added = [Path(path) for path in folder_paths.folder_names_and_paths.get(MODELS, ([], set()))[0]]
    return [own, *(path for path in added if path != own)]


def _folders_of_sets(folder: Path, depth: int) -> Iterator[Path]:
    """Those that hold a part of a set, not looking inside them."""
    if any(files.holds(path, ANIMATE_ANYONE.is_part) for path in weights_in(folder)):
        yield folder
    elif depth < MAX_DEPTH:
        for child in folders_in(folder):
            yield from _folders_of_sets(child, depth + 1)


def checkpoint_choices() -> list[str]:
    return sorted(checkpoints())


def checkpoint_default() -> str:
    """The first of `checkpoint_choices`, else the name that the download gives the first published set."""
    return next(iter(checkpoint_choices()), PUBLISHED[0].folder)


def checkpoint_problem(name: object) -> str | None:
    """Why there is no set or file of this name, and what to do, as a sentence; None for one, whatever a file holds."""
    return None if isinstance(name, str) and (name in checkpoints() or name in files.weights(*FOLDERS)) else _no_set(name)


def resolve_checkpoint(name: str) -> str:
    """Path of the set or file of this name; what it holds is checked where it is loaded. Raises CheckpointError if there is none."""
    path = checkpoints().get(name) or files.weights(*FOLDERS).get(name)
    if path is None:
        raise CheckpointError(_no_set(name))
    return str(path)


def part_choices(part: str) -> list[str]:
    """Files of diffusion_models and controlnet that are this part of a set (a name in `KINDS`), sorted."""
    return sorted(files.weights_that(fitting(part), *PART_FOLDERS))


def part_default(part: str, missing: str) -> str:
    """The first of `part_choices`, preferred one that is called so; `missing` if there is none."""
    found = part_choices(part)
    return next((name for name in found if part in name), next(iter(found), missing))


def part_problem(part: str, name: object) -> str | None:
    """Why a file is not this part of a set, and what to do, as a sentence; None for one that is."""
    if isinstance(name, str) and name in part_choices(part):
        return None
    if name in files.weights(*PART_FOLDERS):
        return f"{name} is not the {part} of an Animate Anyone set, by the names of its tensors; choose one that is listed."
    return (
        f"There is no file {name} for {part} in models/{' or models/'.join(PART_FOLDERS)}; put the files of a set there, or their folder "
        f"into models/{MODELS} for Cinemo Animate Anyone Loader, and press R."
    )


def resolve_part(part: str, name: str) -> str:
    """Path of the file. Raises CheckpointError for a name that is none of `part_choices`."""
    if problem := part_problem(part, name):
        raise CheckpointError(problem)
    return str(files.weights(*PART_FOLDERS)[name])


def lora_choices() -> list[str]:
    return folder_paths.get_filename_list("loras")


def read_lora(name: str) -> dict[str, torch.Tensor]:
    """Tensors of a file in models/loras. Raises CheckpointError if there is none, or for one that cannot be read."""
    path = folder_paths.get_full_path("loras", name)
    if path is None:
        raise CheckpointError(f"There is no LoRA {name} in models/loras; choose one that is listed, or press R after copying it there.")
    return files.read_weights(path)


def _no_set(name: object) -> str:
    choose = "choose one that is listed, or " if checkpoint_choices() else ""
    return f"There is no Animate Anyone set {name}; {choose}{PUBLISHED[0].how_to_get()}."
