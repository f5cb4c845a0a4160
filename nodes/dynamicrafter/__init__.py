"""DynamiCrafter's nodes, in the order of a graph."""

from . import condition, decode, load, sample

NODES = [*load.NODES, *condition.NODES, *sample.NODES, *decode.NODES]
