"""Animate Anyone's nodes, in the order of a graph."""

from . import condition, latents, load, patch, sample

NODES = [*load.NODES, *condition.NODES, *patch.NODES, *sample.NODES, *latents.NODES]
