"""How ComfyUI runs the families of `models/families.py`. A new one is a folder next to this file and a row here."""

from ..models.family import Family
from .animate_anyone.model import AnimateAnyoneSupported
from .cinemo.model import CinemoSupported
from .description import FamilyDescription
from .dynamicrafter.model import DynamiCrafterSupported

DESCRIPTIONS: tuple[type[FamilyDescription], ...] = (CinemoSupported, DynamiCrafterSupported, AnimateAnyoneSupported)


def description_of(family: Family) -> type[FamilyDescription]:
    return next(description for description in DESCRIPTIONS if description.family is family)
