"""The scenes: what there is to see, what moves in it, and the caption that says so.

A scene is painted at moments (frame numbers) with a strength in 0..1; 0 is still, 1 as fast as it looks sensible. The first
frame is the same at any strength.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .dice import Dice
from .painting import around, cover, look, move_camera, shade, stencil, view_points, wave
from .shapes import COLOURS, THINGS, Thing, ball
from .textures import SPAN, TEXTURES, canvas_size, fractal, gradient_map, landscape, photograph, soft_step

Paint = Callable[[Tensor, float], Tensor]  # moments [n], strength -> [n, 3, h, w]


class Scene(NamedTuple):
    caption: str
    paint: Paint


class Setting(NamedTuple):
    """What a scene is made with: the size of the view in pixels, and pictures [3, h, w] that may serve as backdrops."""

    dice: Dice
    width: int
    height: int
    photographs: Sequence[Tensor]

    @property
    def pixel(self) -> float:
        """Width of a pixel in world units."""
        return 2 / max(self.width, self.height)

    def points(self, moments: Tensor) -> Tensor:
        """What an unmoved camera sees, [n, h, w, 2]."""
        return view_points(self.width, self.height).expand(len(moments), -1, -1, -1)

    def backdrop(self) -> Tensor:
        """A canvas: a part of a photograph, or a texture."""
        n = canvas_size(self.width, self.height)
        if self.photographs and self.dice.chance(0.3):
            return photograph(self.dice, n, self.dice.choice(self.photographs))
        return self.dice.choice(TEXTURES)(self.dice, n)


# Speed of the camera per frame at strength 1: right, down, nearer (log).
CAMERA = {
    "the camera pans left": (-0.12, 0.0, 0.0),
    "the camera pans right": (0.12, 0.0, 0.0),
    "the camera tilts up": (0.0, -0.12, 0.0),
    "the camera tilts down": (0.0, 0.12, 0.0),
    "the camera zooms in": (0.0, 0.0, 0.09),
    "the camera zooms out": (0.0, 0.0, -0.075),
}
ZOOMS = tuple(caption for caption in CAMERA if "zooms" in caption)  # drawn twice as often, for they are learnt last
# Way of a thing at strength 1: from where it starts to where it is after 15 frames.
WAYS = {
    "moves left": ((0.6, 0.0), (-0.6, 0.0)),
    "moves right": ((-0.6, 0.0), (0.6, 0.0)),
    "rises": ((0.0, 0.6), (0.0, -0.6)),
    "falls": ((0.0, -0.6), (0.0, 0.6)),
}
WAY_FRAMES = 15


def camera(setting: Setting) -> Scene:
    """The camera moves over a backdrop, on which a thing may stand."""
    dice = setting.dice
    caption = dice.choice((*CAMERA, *ZOOMS))
    x, y, zoom = CAMERA[caption]
    canvas = setting.backdrop()
    thing = some_thing(setting) if dice.chance(0.4) else None

    def paint(moments: Tensor, strength: float) -> Tensor:
        amount = moments * strength
        points = move_camera(view_points(setting.width, setting.height), x * amount, y * amount, zoom * amount)
        image = look(canvas, points)
        return thing(image, points, 0.0, 0.0, 0.0) if thing else image

    return Scene(caption, paint)


def moving_thing(setting: Setting) -> Scene:
    """A thing crosses the picture, at even speed; what falls gets faster."""
    dice = setting.dice
    kind, colour = dice.choice(THINGS), dice.choice(tuple(COLOURS))
    verb = dice.choice(tuple(WAYS))
    (x0, y0), (x1, y1) = WAYS[verb]
    sideways = dice.uniform(-0.35, 0.35)
    x_off, y_off = (sideways, 0.0) if x0 == x1 else (0.0, sideways)
    canvas = setting.backdrop()
    thing = painter(setting, kind, COLOURS[colour], dice.uniform(0.25, 0.5))

    def paint(moments: Tensor, strength: float) -> Tensor:
        done = strength * moments / WAY_FRAMES
        done = 0.4 * done + 0.6 * done * moments / WAY_FRAMES if verb == "falls" else done
        points = setting.points(moments)
        return thing(look(canvas, points), points, x0 + x_off + (x1 - x0) * done, y0 + y_off + (y1 - y0) * done, 0.0)

    return Scene(f"the {colour} {kind.name} {verb}", paint)


def turning_thing(setting: Setting) -> Scene:
    dice = setting.dice
    kind, colour = dice.choice([kind for kind in THINGS if kind.turns]), dice.choice(tuple(COLOURS))
    way, sign = dice.choice((("clockwise", 1), ("counterclockwise", -1)))
    canvas = setting.backdrop()
    thing = painter(setting, kind, COLOURS[colour], dice.uniform(0.4, 0.75))
    x, y = dice.uniform(-0.25, 0.25), dice.uniform(-0.25, 0.25)

    def paint(moments: Tensor, strength: float) -> Tensor:
        points = setting.points(moments)
        return thing(look(canvas, points), points, x, y, sign * 0.2 * strength * moments)

    return Scene(f"the {colour} {kind.name} spins {way}", paint)


def swaying_thing(setting: Setting) -> Scene:
    """A tree or a flower bends to and fro in the wind, the more the higher."""
    dice = setting.dice
    kind, colour = dice.choice([kind for kind in THINGS if kind.stands]), dice.choice(tuple(COLOURS))
    size, x = dice.uniform(0.5, 0.8), dice.uniform(-0.4, 0.4)
    canvas = landscape(dice, canvas_size(setting.width, setting.height))
    thing = painter(setting, kind, COLOURS[colour], size)
    turn, phase = dice.uniform(8, 16), dice.choice((0.0, math.pi))

    def paint(moments: Tensor, strength: float) -> Tensor:
        points = setting.points(moments)
        image = look(canvas, points)
        height = (0.8 - points[..., 1]).clamp(min=0)
        bend = 0.28 * strength * wave(moments, turn, phase)[:, None, None] * height.square()
        bent = torch.stack([points[..., 0] - bend, points[..., 1]], -1)
        return thing(image, bent, x, 0.8 - size, 0.0)

    return Scene(f"the {colour} {kind.name} sways in the wind", paint)


def rippling_water(setting: Setting) -> Scene:
    """Waves run over the whole picture or its lower part, and bend what is seen in them."""
    dice = setting.dice
    canvas = setting.backdrop()
    shore = dice.uniform(-0.4, 0.3) if dice.chance(0.5) else -SPAN
    angle, length, turn = dice.uniform(0, math.pi), dice.uniform(0.25, 0.6), dice.uniform(6, 14)

    def paint(moments: Tensor, strength: float) -> Tensor:
        points = setting.points(moments)
        along = points[..., 0] * math.cos(angle) + points[..., 1] * math.sin(angle)
        phase = 2 * math.pi * along / length
        swing = torch.sin(phase - 2 * math.pi * moments[:, None, None] / turn) - torch.sin(phase)
        depth = soft_step(points[..., 1] - shore, 0.15)
        moved = points + (0.1 * strength * swing * depth)[..., None] * torch.tensor([math.sin(angle), math.cos(angle)])
        return look(canvas, moved)

    return Scene("the water ripples", paint)


def drifting_clouds(setting: Setting) -> Scene:
    """Clouds pass over a landscape's sky, behind its hills."""
    dice = setting.dice
    n = canvas_size(setting.width, setting.height)
    way, sign = dice.choice((("left", -1), ("right", 1)))
    land, clouds = landscape(dice, n), fractal(dice, n, 6, 0.5)
    horizon, thin = dice.uniform(0.0, 0.5), dice.uniform(0.35, 0.55)
    white = torch.tensor([0.96, 0.96, 0.98])[:, None, None] * dice.uniform(0.75, 1.0)

    def paint(moments: Tensor, strength: float) -> Tensor:
        points = setting.points(moments)
        shift = (sign * 0.1 * strength * moments)[:, None, None]
        seen = look(clouds[None], torch.stack([points[..., 0] - shift, points[..., 1]], -1))[:, 0]
        amount = ((seen - thin) / 0.25).clamp(0, 1) * soft_step(horizon - points[..., 1], 0.3)
        return cover(look(land, points), white, amount)

    return Scene(f"the clouds drift {way}", paint)


def falling_snow(setting: Setting) -> Scene:
    """Flakes of three sizes fall, the larger the faster; they come in again at the top."""
    dice = setting.dice
    canvas = setting.backdrop()
    flakes = [(dice.uniform(-1.1, 1.1), dice.uniform(-1.2, 1.2), dice.choice((0.06, 0.08, 0.11))) for _ in range(dice.integer(15, 35))]

    def paint(moments: Tensor, strength: float) -> Tensor:
        points = setting.points(moments)
        image = look(canvas, points)
        covered = torch.zeros(points.shape[:3])
        for x, y, size in flakes:
            fallen = (y + 1.2 + moments * strength * 1.3 * size) % 2.4 - 1.2
            covered = torch.maximum(covered, stencil(ball, around(points, x, fallen), size, 1.5 * setting.pixel))
        return cover(image, torch.tensor([0.97, 0.97, 1.0])[:, None, None], covered)

    return Scene("the snow falls", paint)


def flickering_fire(setting: Setting) -> Scene:
    """Flames: noise that streams upwards through a cone, coloured from dark red to yellow."""
    dice = setting.dice
    n = canvas_size(setting.width, setting.height)
    canvas, noise = setting.backdrop() * dice.uniform(0.25, 0.7), fractal(dice, n, 16, 0.6)
    x, width, top = dice.uniform(-0.3, 0.3), dice.uniform(0.35, 0.7), dice.uniform(-0.7, -0.1)
    colours = torch.tensor([[0.3, 0.02, 0.02], [0.85, 0.2, 0.03], [1.0, 0.6, 0.1], [1.0, 0.95, 0.6]])

    def paint(moments: Tensor, strength: float) -> Tensor:
        points = setting.points(moments)
        risen = points[..., 1] + (0.1 * strength * moments)[:, None, None]
        grain = look(noise[None], torch.stack([points[..., 0], risen], -1))[:, 0] - 0.5
        height = ((points[..., 1] - top) / (1 - top)).clamp(0, 1.2)
        heat = height * (1 - ((points[..., 0] - x) / width).square()) + 1.3 * grain * (0.3 + height)
        glow = gradient_map(((heat - 0.1) / 0.9).flatten(0, 1), colours).unflatten(1, heat.shape[:2]).movedim(0, 1)
        return cover(look(canvas, points), glow, soft_step(heat - 0.15, 0.25))

    return Scene("the fire flickers", paint)


def painter(setting: Setting, kind: Thing, colour: Sequence[float], size: float) -> Callable[..., Tensor]:
    """Paints a thing: (image, world points, x, y, turn) -> image."""
    tint = torch.tensor(colour)

    def paint(image: Tensor, points: Tensor, x: Tensor | float, y: Tensor | float, turn: Tensor | float) -> Tensor:
        local = around(points, x, y, turn)
        return cover(image, shade(local, tint, size), stencil(kind.shape, local, size, setting.pixel))

    return paint


def some_thing(setting: Setting) -> Callable[..., Tensor]:
    dice = setting.dice
    paint = painter(setting, dice.choice(THINGS), dice.choice(tuple(COLOURS.values())), dice.uniform(0.2, 0.5))
    x, y = dice.uniform(-0.5, 0.5), dice.uniform(-0.4, 0.4)
    return lambda image, points, *_: paint(image, points, x, y, 0.0)


# How often each is drawn.
SCENES: tuple[tuple[Callable[[Setting], Scene], int], ...] = (
    (camera, 10),
    (moving_thing, 5),
    (turning_thing, 1),
    (swaying_thing, 1),
    (rippling_water, 1),
    (drifting_clouds, 1),
    (falling_snow, 1),
    (flickering_fire, 1),
)


def draw_scene(setting: Setting) -> Scene:
    """One of the scenes."""
    return setting.dice.choice([scene for scene, weight in SCENES for _ in range(weight)])(setting)
