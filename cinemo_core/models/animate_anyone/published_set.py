"""A published set: several files whose names and layouts say nothing, told apart by the tensors that they hold.

MooreThreads' set and MusePose's have a UNet without motion modules, a file of motion modules, ReferenceNet without a head, and a Pose
Guider. The face re-enactment set has motion modules in its UNet, ReferenceNet with a head, and two Pose Guiders.
"""

from collections.abc import Collection, Mapping, Set
from typing import Any

from ...errors import CheckpointError
from .keys import DENOISER, MOTION, PUBLISHED_MARK, REFERENCE_FILE, is_animate_anyone

UNET, UNET_IN_TIME, MOTION_MODULE, REFERENCE, POSE_GUIDER = (
    "UNet",
    "UNet with motion modules",
    "motion module",
    "ReferenceNet",
    "Pose Guider",
)
WHOLE = "set in one file"
CHAMP, ANIPORTRAIT = "Champ guidance encoder", "AniPortrait Pose Guider"
UNSUPPORTED = (CHAMP, ANIPORTRAIT)
OTHERS_IN_TIME = ("attn_temp", "temporal_", "time_stack")  # of video models whose UNet has the names of Stable Diffusion's
WRAPPER = "module."  # of distributed training


def kind_of(names: Set[str]) -> str | None:
    """Which part of a set a file with tensors of these names is; None for anything else."""
    motion = any(name.endswith(PUBLISHED_MARK) for name in names)
    if {"conv_in.weight", "time_embedding.linear_1.weight"} <= names:
        if motion:
            return UNET_IN_TIME
        if any(mark in name for name in names for mark in OTHERS_IN_TIME):
            return None
        return UNET if "conv_out.weight" in names else REFERENCE
    if motion:
        return MOTION_MODULE
    if any(name.startswith("guidance_attention.") for name in names):
        return CHAMP
    if {"conv_in.weight", "blocks.0.weight", "conv_out.weight"} <= names:
        return POSE_GUIDER
    if any(name.endswith("running_mean") for name in names) and not any(name.startswith("vision_model.") for name in names):
        return ANIPORTRAIT
    return None


def is_one_of(kinds: Collection[str], names: Set[str]) -> bool:
    """Whether a file with tensors of these names is one of these kinds of parts, or a whole set."""
    plain = {name.removeprefix(WRAPPER) for name in names}
    return (WHOLE if is_animate_anyone(plain) else kind_of(plain)) in kinds


def is_part(names: Set[str]) -> bool:
    """Whether a file with tensors of these names is a part that only a set has, or a whole one; its UNet is Stable Diffusion's."""
    return is_one_of((UNET_IN_TIME, MOTION_MODULE, REFERENCE, POSE_GUIDER, WHOLE), names)


def join(files: Mapping[str, Mapping[str, Any]], where: str) -> dict[str, Any]:
    """The tensors of a set's files, by file name, under the names that `keys.normalise` reads; other files are left out.

    Two Pose Guiders are taken in the order of the files. Raises CheckpointError where a part is missing, is there twice, or is of another
    model; `where` names the folder.
    """
    plain = {name: without_wrapper(tensors) for name, tensors in files.items()}
    if whole := [name for name, tensors in plain.items() if is_animate_anyone(tensors)]:
        return plain[whole[0]]  # one file made of a set
    parts: dict[str, list[str]] = {}
    for name, tensors in plain.items():
        if kind := kind_of(tensors.keys()):
            parts.setdefault(kind, []).append(name)

    if UNET_IN_TIME in parts and REFERENCE not in parts:
        parts[REFERENCE] = parts.pop(UNET, [])  # with a head, which is not used
    check_parts(parts, where)
    check_motion_module(plain, parts)
    denoiser = parts.get(UNET_IN_TIME) or parts[UNET]
    chosen = {DENOISER: denoiser[0], REFERENCE_FILE: parts[REFERENCE][0]}
    if UNET_IN_TIME not in parts:
        chosen[MOTION] = parts[MOTION_MODULE][0]
    chosen |= {f"pose_guider{i + 1}.": name for i, name in enumerate(parts[POSE_GUIDER])}
    return {prefix + key: tensor for prefix, name in chosen.items() for key, tensor in plain[name].items()}


def without_wrapper(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(WRAPPER): tensor for key, tensor in tensors.items()}


def check_motion_module(files: Mapping[str, Mapping[str, Any]], parts: Mapping[str, list[str]]) -> None:
    """Raise CheckpointError for a motion module of AnimateDiff that has none for the middle block; later ones have the same names."""
    for name in parts.get(MOTION_MODULE, []):
        if not any(key.startswith("mid_block.") for key in files[name]):
            raise CheckpointError(
                f"{name} is a motion module of AnimateDiff's first version, without one for the middle block; choose motion_module of the "
                "Animate Anyone set."
            )


def check_parts(parts: Mapping[str, list[str]], where: str) -> None:
    in_time = UNET_IN_TIME in parts
    needed = [UNET_IN_TIME if in_time else UNET, *([] if in_time else [MOTION_MODULE]), REFERENCE, POSE_GUIDER]
    if not parts.get(POSE_GUIDER) and (foreign := next((kind for kind in UNSUPPORTED if kind in parts), None)):
        raise CheckpointError(
            f"{where} holds the {foreign} {parts[foreign][0]}, which this pack does not have; choose a set whose Pose Guider is that of "
            "Moore-AnimateAnyone, such as MusePose's, or put such a pose_guider next to these UNets, which then load."
        )
    if missing := [kind for kind in needed if not parts.get(kind)]:
        found = ", ".join(f"{name} ({kind})" for kind, names in parts.items() for name in names) or "none of them"
        raise CheckpointError(
            f"{where} lacks the {' and the '.join(missing)} of an Animate Anyone set; found: {found}. Put denoising_unet, motion_module, "
            "reference_unet and pose_guider of one publisher into it."
        )
    if in_time and (spare := [*parts.get(MOTION_MODULE, []), *parts.get(UNET, [])]):
        raise CheckpointError(
            f"{where} holds a UNet with motion modules ({', '.join(parts[UNET_IN_TIME])}), and {', '.join(spare)} of another set; keep the "
            "files of one set, and choose no motion module for a UNet that has its own."
        )
    for kind in needed:
        if len(parts[kind]) > (2 if kind == POSE_GUIDER else 1):
            raise CheckpointError(f"{where} holds the {kind} more than once ({', '.join(parts[kind])}); keep the files of one set.")
