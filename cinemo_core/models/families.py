"""The table of families. A new one is a folder next to this file and a row here."""

from .animate_anyone.family import ANIMATE_ANYONE
from .cinemo.family import CINEMO
from .dynamicrafter.family import DYNAMICRAFTER
from .family import Family

FAMILIES: tuple[Family, ...] = (CINEMO, DYNAMICRAFTER, ANIMATE_ANYONE)
