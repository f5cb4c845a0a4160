"""Things that stand in a scene, as signed distances: negative inside, in units of the thing's size. p is [..., 2], y down."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = Callable[[Tensor], Tensor]


def ball(p: Tensor) -> Tensor:
    return p.norm(dim=-1) - 1


def square(p: Tensor) -> Tensor:
    return p.abs().amax(dim=-1) - 0.85


def triangle(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return torch.maximum(y - 0.7, 0.866 * x.abs() - 0.5 * y - 0.5)


def star(p: Tensor) -> Tensor:
    """Five points: the radius follows the angle."""
    x, y = p.unbind(-1)
    angle = torch.atan2(x, -y)
    point = (angle / (2 * math.pi / 5)).sub((angle / (2 * math.pi / 5)).round()).abs() * 2
    return 0.8 * (p.norm(dim=-1) - (1.1 - 0.6 * point))


def ring(p: Tensor) -> Tensor:
    return (p.norm(dim=-1) - 0.75).abs() - 0.28


def cross(p: Tensor) -> Tensor:
    a = p.abs()
    return torch.minimum(torch.maximum(a[..., 0] - 1, a[..., 1] - 0.33), torch.maximum(a[..., 1] - 1, a[..., 0] - 0.33))


def person(p: Tensor) -> Tensor:
    """A standing figure: head, body, legs."""
    x, y = p.unbind(-1)
    head = (x**2 + (y + 0.75) ** 2).sqrt() - 0.24
    body = torch.maximum(x.abs() - 0.3, (y + 0.1).abs() - 0.4)
    legs = torch.maximum((x.abs() - 0.17).abs() - 0.1, (y - 0.65).abs() - 0.35)
    arms = torch.maximum((x.abs() - 0.4).abs() - 0.07, (y + 0.1).abs() - 0.36)
    return torch.stack([head, body, legs, arms]).amin(0)


def tree(p: Tensor) -> Tensor:
    """A trunk that stands on y = 1, and a crown of three balls."""
    x, y = p.unbind(-1)
    trunk = torch.maximum(x.abs() - 0.12, (y - 0.4).abs() - 0.6)
    crown = [
        (x - cx).square().add((y - cy).square()).sqrt() - r for cx, cy, r in ((0, -0.55, 0.45), (-0.35, -0.2, 0.35), (0.35, -0.2, 0.35))
    ]
    return torch.stack([trunk, *crown]).amin(0)


def flower(p: Tensor) -> Tensor:
    """A stem that stands on y = 1, and a head with petals."""
    x, y = p.unbind(-1)
    stem = torch.maximum(x.abs() - 0.07, (y - 0.4).abs() - 0.6)
    angle = torch.atan2(y + 0.45, x)
    head = (x.square() + (y + 0.45).square()).sqrt() - (0.42 + 0.1 * torch.cos(6 * angle))
    return torch.minimum(stem, head)


@dataclass(frozen=True)
class Thing:
    """A named shape. `turns`: a turn of it can be seen; `stands`: it has a foot at y = 1 and can sway."""

    name: str
    shape: Shape
    turns: bool = True
    stands: bool = False


THINGS = (
    Thing("ball", ball, turns=False),
    Thing("square", square),
    Thing("triangle", triangle),
    Thing("star", star),
    Thing("ring", ring, turns=False),
    Thing("cross", cross),
    Thing("person", person),
    Thing("tree", tree, turns=False, stands=True),
    Thing("flower", flower, turns=False, stands=True),
)
COLOURS = {
    "red": (0.85, 0.12, 0.1),
    "green": (0.15, 0.65, 0.2),
    "blue": (0.12, 0.3, 0.85),
    "yellow": (0.95, 0.85, 0.15),
    "orange": (0.95, 0.5, 0.1),
    "purple": (0.55, 0.2, 0.7),
    "white": (0.95, 0.95, 0.95),
    "black": (0.06, 0.06, 0.08),
}
