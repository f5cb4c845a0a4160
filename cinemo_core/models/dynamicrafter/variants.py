"""The published variants: one network, trained to different sizes, schedules and meanings of the motion number.

A file does not say which it is, but for the gates of the 256 model and the scales that an unpruned file carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ...files.checkpoint import size_of
from .schedule import Schedule

AUTO = "auto"
TOON = "decoder.attn_refinement."  # tensors that ToonCrafter's VAE alone has; its network is that of 512 interpolation
STRIDE, FPS = "frame stride", "frames per second"
SCALES = "scale_arr"  # a buffer of the official checkpoints, and of the network in what ComfyUI saves


@dataclass(frozen=True)
class Variant:
    """One of them, or ToonCrafter, the interpolation model tuned to cartoons.

    width, height: pixels that it was trained at. motion: what the number `fs` means; a larger stride is more motion, a larger rate
    less. rescale: of the guidance, as the authors sample. trailing: their spacing of timesteps. between: trained to connect two pictures.
    """

    name: str
    width: int
    height: int
    schedule: Schedule
    motion: str
    default_fs: int
    trailing: bool
    rescale: float
    between: bool = False

    @property
    def full_name(self) -> str:
        return self.name if self.name == "ToonCrafter" else f"DynamiCrafter {self.name}"


SMALL = Variant("256", 256, 256, Schedule(v=False), STRIDE, 3, trailing=False, rescale=0.0)
MEDIUM = Variant("512", 512, 320, Schedule(v=True, base=0.7), FPS, 24, trailing=True, rescale=0.7)
LARGE = Variant("1024", 1024, 576, Schedule(v=True, base=0.3), FPS, 10, trailing=True, rescale=0.7)
INTERPOLATION = Variant("512 interpolation", 512, 320, Schedule(v=True, base=0.7), FPS, 5, trailing=True, rescale=0.7, between=True)
TOONCRAFTER = Variant("ToonCrafter", 512, 320, Schedule(v=True, base=0.7), FPS, 10, trailing=True, rescale=0.7, between=True)
VARIANTS = {variant.name: variant for variant in (SMALL, MEDIUM, LARGE, INTERPOLATION, TOONCRAFTER)}


def variant_of(gated: bool, checkpoint: Mapping[str, Any]) -> Variant | None:
    """What a checkpoint says it is; None where it cannot tell. 512 and its interpolation model look the same: the first is given.

    Raises CheckpointError for scales that no published model has.
    """
    if gated:
        return SMALL
    if any(TOON in name for name in checkpoint):
        return TOONCRAFTER
    scales = next((tensor for name, tensor in checkpoint.items() if name.rpartition(".")[2] == SCALES), None)
    if scales is None:
        return None
    size_of({SCALES: tuple(scales.shape)}, SCALES, 1, "The DynamiCrafter checkpoint")
    base = float(scales[-1])
    fitting = [variant for variant in VARIANTS.values() if abs(variant.schedule.base - base) < 1e-3]
    if not fitting:
        known = " or ".join(f"{variant.schedule.base} ({variant.name})" for variant in (MEDIUM, LARGE))
        raise CheckpointError(
            f"The DynamiCrafter checkpoint was trained with a dynamic rescale to {base:.3g} ({SCALES}), expected {known}: "
            "this pack does not know this model; use a published one."
        )
    return fitting[0]


class Taken(NamedTuple):
    """The variant that a checkpoint is run as, and why, in words that end a sentence."""

    variant: Variant
    reason: str


def take_variant(wanted: str, gated: bool, checkpoint: Mapping[str, Any], what: str) -> Taken:
    """The variant of this name, or with "auto" what the checkpoint says, or else 512.

    Raises CheckpointError, beginning with `what`, where the checkpoint says otherwise.
    """
    said = variant_of(gated, checkpoint)
    evidence = "the gates in it" if gated else "its VAE" if said is TOONCRAFTER else f"its {SCALES}"
    if wanted == AUTO:
        if said is None:
            others = f"{LARGE.name}, {INTERPOLATION.name} or {TOONCRAFTER.name}"
            return Taken(MEDIUM, f"because the file does not say which it is; if it is {others}, set variant to that")
        alike = f", and {INTERPOLATION.name} is like it in that" if said is MEDIUM else ""
        return Taken(said, f"by {evidence}{alike}")
    chosen = VARIANTS[wanted]
    if said is not None and said.schedule != chosen.schedule:
        raise CheckpointError(f"{what} is {said.full_name} by {evidence}, not {wanted}; set variant to {AUTO} or {said.name}.")
    if chosen is SMALL and not gated:
        raise CheckpointError(f"{what} lacks the gates of DynamiCrafter {SMALL.name}; set variant to {AUTO}, or to the model that it is.")
    return Taken(chosen, "as variant says")
