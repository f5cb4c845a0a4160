"""Loading an Animate Anyone MODEL: from the folder of a set, from one file made of it, or from files chosen one by one."""

from dataclasses import dataclass

from ...models.animate_anyone.family import ANIMATE_ANYONE
from ...models.animate_anyone.schedule import LINEAR, SCALED_LINEAR
from ..loading import load_unet
from . import choices
from .sampling import set_betas

AUTO = "auto"
MUSEPOSE_POSITIONS = 128  # of its motion modules, which no other published set has


@dataclass(frozen=True)
class Parts:
    """Names of a set's files. motion_module and second_pose_guider: `choices.NONE` where the set has none."""

    denoising_unet: str
    motion_module: str
    reference_unet: str
    pose_guider: str
    second_pose_guider: str = choices.NONE


def load_checkpoint(name: str, weight_dtype: str = "default", betas: str = AUTO):
    """The MODEL of the set or file of this name, with ReferenceNet and Pose Guider.

    Raises CheckpointError, before a model is made, where there is none, where a part of the set is missing or does not fit the others.
    """
    return with_betas(load_unet(choices.resolve_checkpoint(name), weight_dtype, ANIMATE_ANYONE), betas)


def load_parts(names: Parts, weight_dtype: str = "default", betas: str = AUTO):
    """The same of files that are chosen one by one. Raises CheckpointError as `load_checkpoint` does."""
    chosen = [
        ("denoising_unet", names.denoising_unet),
        ("motion_module", names.motion_module),
        ("reference_unet", names.reference_unet),
        ("pose_guider", names.pose_guider),
        ("pose_guider", names.second_pose_guider),
    ]
    paths = tuple(choices.resolve_part(part, name) for part, name in chosen if name != choices.NONE)
    return with_betas(load_unet(paths, weight_dtype, ANIMATE_ANYONE), betas)


def with_betas(model, betas: str):
    """A copy of the MODEL with these betas; `AUTO` takes those that its publisher samples with."""
    if betas == AUTO:
        betas = SCALED_LINEAR if model.model.diffusion_model.config.positions == MUSEPOSE_POSITIONS else LINEAR
    return set_betas(model, betas)
