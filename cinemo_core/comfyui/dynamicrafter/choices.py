"""Which checkpoints the DynamiCrafter loader lists, and which file a name from its list means."""

from ...errors import CheckpointError
from ...models.dynamicrafter.family import DYNAMICRAFTER
from ...models.dynamicrafter.published import PUBLISHED
from .. import files

FOLDERS = ("checkpoints", "diffusion_models")


def checkpoint_choices() -> list[str]:
    """DynamiCrafter files of "checkpoints" and "diffusion_models", recognised by their tensors, by relative name, sorted."""
    return sorted(files.weights_of(DYNAMICRAFTER, *FOLDERS))


def checkpoint_default() -> str:
    """The first of `checkpoint_choices`, else the name that the download gives the 512 model."""
    return next(iter(checkpoint_choices()), PUBLISHED[0].target)


def checkpoint_problem(name: object) -> str | None:
    """Why there is no file of this name, and what to do, as a sentence; None for a weights file, whatever it holds."""
    found = files.weights(*FOLDERS)
    return None if isinstance(name, str) and name in found else _no_file(name)


def resolve_checkpoint(name: str) -> str:
    """Path of the file of this name; what it holds is checked where it is loaded. Raises CheckpointError if there is none."""
    path = files.weights(*FOLDERS).get(name)
    if path is None:
        raise CheckpointError(_no_file(name))
    return str(path)


def _no_file(name: object) -> str:
    choose = "choose one that is listed, or " if checkpoint_choices() else ""
    return f"There is no checkpoint {name} in models/checkpoints or models/diffusion_models; {choose}{PUBLISHED[0].how_to_get()}."
