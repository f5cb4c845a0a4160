"""Follows a clip from its first frame: the flow between each frame and frame 0, in both directions.

Flow between neighbours is chained and then refined against frame 0 itself, so that errors do not add up. What is kept between
frames does not grow.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .flow import optical_flow
from .planes import warp

REFINED = 3  # levels of the pyramid that are solved again against frame 0


@dataclass(frozen=True)
class Match:
    """Flows [1, 2, h, w]. to_first: from a frame to frame 0. from_first: back."""

    to_first: torch.Tensor
    from_first: torch.Tensor


class Tracker:
    """Takes the grey frames [1, 1, h, w] of a clip one after the other."""

    def __init__(self, first: torch.Tensor, tick: Callable[[], None] = lambda: None) -> None:
        self.first = self.previous = first
        self.tick = tick
        still = first.new_zeros(1, 2, *first.shape[-2:])
        self.match = Match(still, still)

    def follow(self, frame: torch.Tensor) -> Match:
        """The match of the next frame."""
        adjacent = self.previous is self.first
        pair = optical_flow(torch.cat([frame, self.previous]), torch.cat([self.previous, frame]), tick=self.tick)
        back, onward = pair.split(1)
        to_first = chain(back, self.match.to_first)
        from_first = chain(self.match.from_first, onward)
        if not adjacent:
            start = torch.cat([to_first, from_first])
            pair = optical_flow(torch.cat([frame, self.first]), torch.cat([self.first, frame]), start, REFINED, tick=self.tick)
            to_first, from_first = pair.split(1)
        self.previous, self.match = frame, Match(to_first, from_first)
        return self.match


def chain(flow: torch.Tensor, then: torch.Tensor) -> torch.Tensor:
    """The flow that follows one flow and, from where it arrives, another."""
    return flow + warp(then, flow, "bilinear")
