"""Fits a clip of figures to the proportions and the place of another figure, so that the pose does not change who is seen.

Animate Anyone's paper rescales the driving skeleton to the body lengths of the reference (arXiv 2311.17117, sec. 4.1). Here each bone keeps
its direction and gets the reference's length. A bone looks shorter where it points at the camera: its length in the clip is taken from
the frames that show it long, and of a pair of limbs the longer one counts.

The first figure stands where the reference stands: its neck is above or below the reference's, and its lower ankle at the height of the
reference's lower one. From then on the lower ankle rises and falls as in the clip, so that feet stay on the ground although the legs
are of another length. Where ankles are not seen, the necks meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from .draw import LIMBS
from .figure import LEFT_ANKLE, LEFT_WRIST, NECK, NOSE, RIGHT_ANKLE, RIGHT_WRIST, Figure, moved

LONG = 90  # the percentile of a bone's lengths in the clip that is taken for its own
LIMIT = 2.0  # a bone gets at most so many times longer or shorter than the whole figure: the reference may show it foreshortened
# What has one length, with its bones in `LIMBS`: pairs of limbs, and the head.
SEGMENTS = {
    "shoulders": (0, 1),
    "upper arms": (2, 4),
    "forearms": (3, 5),
    "torso": (6, 9),
    "thighs": (7, 10),
    "shins": (8, 11),
    "neck": (12,),
    "head": (13, 14, 15, 16),
}
LEGS = ("thighs", "shins")


@dataclass(frozen=True)
class Proportions:
    """What to multiply by: the whole figure, each segment, and movement over the ground. compared: segments that both show."""

    scale: float
    segments: dict[str, float]
    stride: float
    compared: tuple[str, ...]

    @property
    def bones(self) -> list[float]:
        """The factor of each bone of `LIMBS`."""
        factors = {bone: self.segments[name] for name, bones in SEGMENTS.items() for bone in bones}
        return [factors[bone] for bone in range(len(LIMBS))]


@dataclass(frozen=True)
class Alignment:
    """Figures in the reference's picture. grounded: they stand on the reference's ankles, not only at its neck."""

    figures: tuple[Figure, ...]
    proportions: Proportions
    grounded: bool


def align(figures: Sequence[Figure], reference: Figure, limbs: bool = True) -> Alignment:
    """The clip's figures with the reference's bones, in its picture, beginning where it stands.

    limbs: fit each limb, not only the size of the whole figure. Raises InputError where no bone can be compared.
    """
    proportions = compare(figures, reference, limbs)
    necks = np.stack([figure.body[NECK, :2] for figure in figures])
    path = reference.body[NECK, :2] + (necks - necks[0]) * proportions.stride
    fitted = [rebuild(figure, proportions, neck, reference) for figure, neck in zip(figures, path, strict=True)]
    down = ground(figures, fitted, reference, proportions.stride)
    if down is None:
        return Alignment(tuple(fitted), proportions, grounded=False)
    return Alignment(tuple(map(lower, fitted, down)), proportions, grounded=True)


def compare(figures: Sequence[Figure], reference: Figure, limbs: bool = True) -> Proportions:
    """A segment that the reference does not show is scaled as the others are together. Raises InputError where there are no others."""
    wanted = {name: long for name in SEGMENTS if (long := length(reference, name)) > 0}
    own = {}
    for name in wanted:
        shown = [long for figure in figures if (long := length(figure, name)) > 0]
        if shown:
            own[name] = float(np.percentile(shown, LONG))
    if not own:
        raise InputError(
            "The reference's key points and the clip's have no limb in common, so their sizes cannot be compared; use a reference "
            "picture in which the detector finds shoulders, arms or legs."
        )
    scale = sum(wanted[name] for name in own) / sum(own.values())
    within = {name: float(np.clip(wanted[name] / own[name], scale / LIMIT, scale * LIMIT)) for name in own} if limbs else {}
    legs = [name for name in LEGS if name in within]
    stride = sum(within[name] * own[name] for name in legs) / sum(own[name] for name in legs) if legs else scale
    return Proportions(scale, {name: within.get(name, scale) for name in SEGMENTS}, stride, tuple(own))


def length(figure: Figure, segment: str) -> float:
    """The longest of the segment's bones that are seen; 0 where none is."""
    ends = (LIMBS[bone] for bone in SEGMENTS[segment])
    return max((bone_length(figure, *pair) for pair in ends if figure.sees(*pair)), default=0.0)


def bone_length(figure: Figure, first: int, second: int) -> float:
    return float(np.linalg.norm(figure.body[second, :2] - figure.body[first, :2]))


def rebuild(figure: Figure, proportions: Proportions, neck: np.ndarray, reference: Figure) -> Figure:
    """Every point from the neck outwards, along the bones; a point without a bone to it moves with the neck."""
    old = figure.body[:, :2]
    new = neck + (old - old[NECK]) * proportions.scale
    for (first, second), factor in zip(LIMBS, proportions.bones, strict=True):
        if figure.sees(first, second):
            new[second] = new[first] + (old[second] - old[first]) * factor

    def carry(points: np.ndarray, anchor: int, factor: float) -> np.ndarray:
        return np.concatenate([new[anchor] + (points[:, :2] - old[anchor]) * factor, points[:, 2:]], axis=1)

    return replace(
        figure,
        body=np.concatenate([new, figure.body[:, 2:]], axis=1),
        right_hand=carry(figure.right_hand, RIGHT_WRIST, proportions.scale),
        left_hand=carry(figure.left_hand, LEFT_WRIST, proportions.scale),
        face=carry(figure.face, NOSE, proportions.segments["head"]),
        width=reference.width,
        height=reference.height,
    )


def ground(figures: Sequence[Figure], fitted: Sequence[Figure], reference: Figure, stride: float) -> np.ndarray | None:
    """[f], how far down each fitted figure has to go to stand on the reference's ground; None where ankles are not seen.

    A frame that does not show both ankles gets what its neighbours get.
    """
    standing = [i for i, figure in enumerate(figures) if figure.sees(RIGHT_ANKLE, LEFT_ANKLE)]
    floor = lower_ankle(reference)
    if floor is None or not standing:
        return None
    before = np.array([lower_ankle(figures[i]) for i in standing])
    after = np.array([lower_ankle(fitted[i]) for i in standing])
    return np.interp(range(len(figures)), standing, floor + (before - before[0]) * stride - after)


def lower_ankle(figure: Figure) -> float | None:
    """Its y in pixels, of those that are seen."""
    return max((float(figure.body[ankle, 1]) for ankle in (RIGHT_ANKLE, LEFT_ANKLE) if figure.sees(ankle)), default=None)


def lower(figure: Figure, pixels: float) -> Figure:
    return moved(figure, np.ones(2), np.array([0.0, pixels]), figure.width, figure.height)
