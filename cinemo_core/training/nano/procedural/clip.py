"""One clip: a scene, at the strength that gives the motion score that was drawn."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ....motion.ssim import ssim
from .dice import Dice
from .scenes import Scene, Setting, draw_scene

END = 0.65  # SSIM of the wildest clips; beyond the end of the scale, 0.805, because a small autoencoder gives back less motion
SEARCH_STEPS = 6
PROBES = 2  # pairs of frames that the score is estimated from


def render_clip(seed: int, width: int, height: int, frames: int, photographs: Sequence[Tensor] = ()) -> tuple[Tensor, str]:
    """The clip of a seed and its caption: uint8 [frames, 3, height, width]. The same arguments give the same clip.

    photographs: pictures [3, h, w] in 0..1 that may serve as backdrops.
    """
    dice = Dice(seed)
    scene = draw_scene(Setting(dice, width, height, photographs))
    # The power makes up for scenes in which little can move, so that the upper end of the scale is not rare.
    strength = find_strength(scene, frames, dice.uniform(0.0, 1.0) ** 0.35)
    return to_uint8(scene.paint(torch.arange(frames, dtype=torch.float32), strength)), scene.caption


def render_stills(seed: int, width: int, height: int, count: int, photographs: Sequence[Tensor] = ()) -> Tensor:
    """Views of the scene of a seed, far apart in time, for a network that sees no motion: uint8 [count, 3, height, width]."""
    dice = Dice(seed)
    scene = draw_scene(Setting(dice, width, height, photographs))
    return to_uint8(scene.paint(16 * dice.field(count), dice.uniform(0.0, 1.0)))


def find_strength(scene: Scene, frames: int, level: float) -> float:
    """The strength that puts the clip at `level` of the scale of motion: 0 still, 1 END, or the most it can.

    The score of a scene falls as its strength rises, so it is searched for by halving, on a few pairs of frames.
    """
    most_motion = max(score(scene, frames, 1.0), END)
    target = 1 - level * (1 - most_motion)
    low, high = 0.0, 1.0
    for _ in range(SEARCH_STEPS):
        strength = (low + high) / 2
        low, high = (strength, high) if score(scene, frames, strength) > target else (low, strength)
    return (low + high) / 2


def score(scene: Scene, frames: int, strength: float) -> float:
    """Mean SSIM of some pairs of consecutive frames, spread over the clip."""
    starts = torch.linspace(0, frames - 2, PROBES).round()
    images = scene.paint(torch.stack([starts, starts + 1], 1).flatten(), strength).permute(0, 2, 3, 1)
    return sum(ssim(images[2 * i], images[2 * i + 1]) for i in range(PROBES)) / PROBES


def to_uint8(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
