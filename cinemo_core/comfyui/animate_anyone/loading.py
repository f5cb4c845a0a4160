"""Which Animate Anyone checkpoints there are, and loading one: the folder of a published set, or one file made of it."""

from pathlib import Path

import folder_paths

from ...errors import CheckpointError
from ...files.folder import weights_in
from ...files.walk import folders_in
from ...models.animate_anyone.family import ANIMATE_ANYONE
from ...models.animate_anyone.schedule import LINEAR
from .. import files
from ..loading import load_unet
from .sampling import set_betas

SETS = "animate_anyone"  # the model folder; each folder in it is a set
FILES = ("diffusion_models", "checkpoints")


def checkpoints() -> dict[str, Path]:
    """Folders with weights in models/animate_anyone, and single files of the family among the other models, by relative name."""
    found: dict[str, Path] = {}
    for root in roots():
        for folder in folders_in(root):
            if weights_in(folder):
                found.setdefault(folder.name, folder)
    return found | {name: path for name, path in files.weights_of(ANIMATE_ANYONE, *FILES).items() if name not in found}


def roots() -> list[Path]:
    """models/animate_anyone, and what extra_model_paths.yaml adds to it."""
    own = Path(folder_paths.models_dir, SETS)
    added = [Path(path) for path in folder_paths.folder_names_and_paths.get(SETS, ([], set()))[0]]
    return [own, *(path for path in added if path != own)]


def checkpoint_choices() -> list[str]:
    return sorted(checkpoints())


def load_checkpoint(name: str, weight_dtype: str = "default", betas: str = LINEAR):
    """The MODEL of the checkpoint of this name, with ReferenceNet and Pose Guider.

    Raises CheckpointError, before a model is made, where there is none, where a part of the set is missing or does not fit the others.
    """
    path = checkpoints().get(name)
    if path is None:
        raise CheckpointError(
            f"There is no Animate Anyone checkpoint {name}; put the files of a set (denoising_unet, motion_module, reference_unet and "
            f"pose_guider) into a folder of models/{SETS}, and press R."
        )
    return set_betas(load_unet(str(path), weight_dtype, ANIMATE_ANYONE), betas)
