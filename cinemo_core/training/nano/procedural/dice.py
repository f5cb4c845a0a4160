"""Random choices of one clip, all from one seed."""

import random
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Dice:
    """Draws numbers, members of sequences and fields of noise; the same seed draws the same."""

    def __init__(self, seed: int) -> None:
        self._numbers = random.Random(seed)
        self._fields = torch.Generator().manual_seed(self._numbers.getrandbits(62))

    def uniform(self, low: float, high: float) -> float:
        return self._numbers.uniform(low, high)

    def chance(self, probability: float) -> bool:
        return self._numbers.random() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._numbers.randint(low, high)

    def choice(self, options: Sequence[T]) -> T:
        return self._numbers.choice(options)

    def field(self, *shape: int) -> Tensor:
        """Uniform numbers in 0..1."""
        return torch.rand(shape, generator=self._fields)
