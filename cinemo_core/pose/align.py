"""Fits a clip of figures to the proportions and the place of another figure, so that the pose does not change who is seen.

Animate Anyone's paper rescales the driving skeleton to the body lengths of the reference (arXiv 2311.17117, sec. 4.1). Here each bone keeps
its direction and gets the reference's length. A bone looks shorter where it points at the camera, so its length in the clip is taken
from the frames that show it long.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .draw import LIMBS
from .figure import LEFT_WRIST, NECK, NOSE, RIGHT_WRIST, Figure

LONG = 90  # the percentile of a bone's lengths in the clip that is taken for its own
# Bones of the right and left side, which have one length.
PAIRS = ((0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11), (13, 15), (14, 16))


def align(figures: Sequence[Figure], reference: Figure) -> list[Figure]:
    """The clip's figures with the reference's bones, in its picture, beginning where its neck is.

    A bone that the reference does not show is scaled as the others are on average. Movement of the whole figure is scaled so too.
    """
    ratios, scale = bone_ratios(figures, reference)
    start, place = figures[0].body[NECK, :2], reference.body[NECK, :2]
    return [move(figure, ratios, scale, place + (figure.body[NECK, :2] - start) * scale, reference) for figure in figures]


def bone_ratios(figures: Sequence[Figure], reference: Figure) -> tuple[list[float], float]:
    """What to multiply each bone of `LIMBS` by, and the mean of it, which is 1 where no bone can be compared."""
    found: dict[int, float] = {}
    for sides in (*PAIRS, (12,)):
        wanted = [length(reference, side) for side in sides if reference.sees(*LIMBS[side])]
        shown = [length(figure, side) for figure in figures for side in sides if figure.sees(*LIMBS[side])]
        if wanted and shown and (own := float(np.percentile(shown, LONG))) > 0:
            found |= dict.fromkeys(sides, float(np.mean(wanted)) / own)
    scale = float(np.mean(list(found.values()))) if found else 1.0
    return [found.get(bone, scale) for bone in range(len(LIMBS))], scale


def length(figure: Figure, bone: int) -> float:
    first, second = LIMBS[bone]
    return float(np.linalg.norm(figure.body[second, :2] - figure.body[first, :2]))


def move(figure: Figure, ratios: Sequence[float], scale: float, neck: np.ndarray, reference: Figure) -> Figure:
    """Every point from the neck outwards, along the bones; a point without a bone to it moves with the neck."""
    old = figure.body[:, :2]
    new = neck + (old - old[NECK]) * scale
    for (first, second), ratio in zip(LIMBS, ratios, strict=True):
        if figure.sees(first, second):
            new[second] = new[first] + (old[second] - old[first]) * ratio

    def follow(points: np.ndarray, anchor: int) -> np.ndarray:
        return np.concatenate([new[anchor] + (points[:, :2] - old[anchor]) * scale, points[:, 2:]], axis=1)

    return replace(
        figure,
        body=np.concatenate([new, figure.body[:, 2:]], axis=1),
        right_hand=follow(figure.right_hand, RIGHT_WRIST),
        left_hand=follow(figure.left_hand, LEFT_WRIST),
        face=follow(figure.face, NOSE),
        width=reference.width,
        height=reference.height,
    )
