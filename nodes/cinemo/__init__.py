"""Cinemo's nodes, in the order of a graph: loading, conditioning, noise, inversion, sampling, longer clips."""

from . import condition, extend, invert, load, noise, sample

NODES = [*load.NODES, *condition.NODES, *noise.NODES, *invert.NODES, *sample.NODES, *extend.NODES]
