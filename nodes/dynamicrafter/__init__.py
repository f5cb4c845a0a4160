"""DynamiCrafter's nodes, in the order of a graph."""

from . import load

NODES = [*load.NODES]
