"""The published variants: one network, trained to different sizes, schedules and meanings of the motion number.

A file does not say which it is, but for the gates of the 256 model and the scales that an unpruned file carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .schedule import RESCALED, Schedule

SCALES = "scale_arr"  # a buffer of the official checkpoints


@dataclass(frozen=True)
class Variant:
    """One of them.

    width, height: pixels that it was trained at. motion: what the number `fs` means; a larger stride is more motion, a larger rate
    less. rescale: of the guidance, as the authors sample. trailing: their spacing of timesteps.
    """

    name: str
    width: int
    height: int
    schedule: Schedule
    motion: str
    default_fs: int
    trailing: bool
    rescale: float


SMALL = Variant("256", 256, 256, Schedule(v=False), "frame stride", 3, trailing=False, rescale=0.0)
MEDIUM = Variant("512", 512, 320, Schedule(v=True, base=0.7), "frames per second", 24, trailing=True, rescale=0.7)
LARGE = Variant("1024", 1024, 576, Schedule(v=True, base=0.3), "frames per second", 10, trailing=True, rescale=0.7)
INTERPOLATION = Variant("512 interpolation", 512, 320, Schedule(v=True, base=0.7), "frames per second", 5, trailing=True, rescale=0.7)
VARIANTS = {variant.name: variant for variant in (SMALL, MEDIUM, LARGE, INTERPOLATION)}


def variant_of(gated: bool, checkpoint: Mapping[str, Any]) -> Variant | None:
    """What a checkpoint says it is; None where it cannot tell. 512 and its interpolation model look the same: the first is given."""
    if gated:
        return SMALL
    scales = next((tensor for name, tensor in checkpoint.items() if name.rpartition(".")[2] == SCALES), None)
    if scales is None or scales.shape[0] <= RESCALED:
        return None
    base = float(scales[RESCALED])
    return next((variant for variant in VARIANTS.values() if abs(variant.schedule.base - base) < 1e-3), None)
