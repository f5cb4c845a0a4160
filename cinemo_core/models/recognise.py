"""Says what a checkpoint is, from the names and shapes of its tensors, and reads a network of one of the families from it."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CheckpointError
from ..files.checkpoint import Shapes, compare, shapes_of
from . import families
from .family import Family


class Recognised(NamedTuple):
    """A network's tensors under LDM names, as they are in the file, and its sizes."""

    family: Family
    state_dict: dict[str, Any]
    config: Any


def family_of(names: Iterable[str]) -> Family | None:
    """The family whose tensors these are."""
    names = list(names)
    return next((family for family in families.FAMILIES if family.is_mine(names)), None)


def recognise(path: str | os.PathLike, state_dict: Mapping[str, Any], wanted: Family | None = None) -> Recognised:
    """The network in the file at `path`, complete and checked; of the family `wanted`, or of any.

    Raises CheckpointError, before anything is built, where the file holds another model, lacks tensors, or a configuration
    next to it contradicts it.
    """
    family = family_of(state_dict)
    if family is None or wanted not in (None, family):
        expected = wanted.words if wanted else " or ".join(f.words for f in families.FAMILIES)
        remedy = wanted.where if wanted else "choose the network of a published checkpoint"
        raise CheckpointError(f"{path} is not {expected}; it is {describe(shapes_of(state_dict))}: {remedy}.")
    network = family.normalise(state_dict)
    config = family.complete(family.config(network), state_dict)
    compare(shapes_of(network), family.shapes(config), f"The {family.name} UNet {path}")
    family.check_config_file(Path(path), config)
    return Recognised(family, network, config)


def describe(shapes: Shapes) -> str:
    """What a checkpoint is, in words for an error message."""
    names = set(shapes)
    if _any(names, r"\blora_(up|down|A|B)\b|\.lora\.(up|down)|_lora\.(up|down)|hada_w1|lokr_w|dora_scale"):
        return "a LoRA"
    if family := family_of(names):
        return family.words
    if _any(names, r"motion_modules\.\d") and not _any(names, r"(^|\.)(conv_in|input_blocks\.0\.0)\.weight"):
        return "an AnimateDiff motion module"
    if _any(names, r"^control_model\.|^controlnet_|^input_hint_block\.|^zero_convs\."):
        return "a ControlNet"
    if unet := _describe_unet(shapes):
        return unet
    if _any(names, r"^(first_stage_model\.)?(encoder|decoder)\.conv_in\.weight$"):
        return "a temporal VAE" if _any(names, r"mix_factor|time_mix_conv|time_conv_out") else "a VAE"
    if _any(names, r"(^|\.)token_embedding\.weight$"):
        return "a CLIP text encoder"
    return "an unknown model"


def _describe_unet(shapes: Shapes) -> str | None:
    prefix = "model.diffusion_model." if any(name.startswith("model.diffusion_model.") for name in shapes) else ""
    unet = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    conv_in = unet.get("conv_in.weight") or unet.get("input_blocks.0.0.weight")
    text = next((shape for name, shape in unet.items() if name.endswith("attn2.to_k.weight")), None)
    if conv_in is None or text is None:
        return None
    kind = "checkpoint" if prefix and any(not name.startswith(prefix) for name in shapes) else "UNet"
    if _any(unet, r"\.time_stack\.|\.temporal_transformer_blocks\."):
        return f"a Stable Video Diffusion {kind}"
    if _any(unet, r"motion_modules\.\d"):
        return f"an AnimateDiff {kind}"
    family = {768: "an SD1.x", 1024: "an SD2.x", 2048: "an SDXL", 1280: "an SDXL refiner"}.get(text[-1])
    return f"{family} {kind}" if family else f"an image {kind} of unknown family"


def _any(names: Iterable[str], pattern: str) -> bool:
    search = re.compile(pattern).search
    return any(search(name) for name in names)
