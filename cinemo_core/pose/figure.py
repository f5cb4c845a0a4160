"""Key points of one person, in the order of OpenPose, and how they meet a picture of another size.

Key points are [n, 3]: x and y in pixels, and a score, 0 where the detector found nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

BODY, HAND, FACE = 18, 21, 68
NOSE, NECK = 0, 1
RIGHT_SHOULDER, LEFT_SHOULDER = 2, 5
RIGHT_WRIST, LEFT_WRIST = 4, 7
RIGHT_ANKLE, LEFT_ANKLE = 10, 13
THRESHOLD = 0.3  # below this score a key point is not used
FITS = ("stretch", "cover", "pad")  # how a picture meets another size


@dataclass(frozen=True)
class Figure:
    """One person in a picture of this size. hands: right and left, each [21, 3]; face: [68, 3]."""

    body: np.ndarray
    right_hand: np.ndarray
    left_hand: np.ndarray
    face: np.ndarray
    width: int
    height: int

    def sees(self, *points: int) -> bool:
        return all(self.body[point, 2] >= THRESHOLD for point in points)

    @property
    def seen(self) -> np.ndarray:
        """[18], which points of the body are used."""
        return self.body[:, 2] >= THRESHOLD


def fitted(figure: Figure, width: int, height: int, fit: str = "stretch") -> Figure:
    """The same person after the picture was brought to another size."""
    scale, offset = meeting((figure.width, figure.height), (width, height), fit)
    return moved(figure, scale, offset, width, height)


def meeting(size: tuple[int, int], wanted: tuple[int, int], fit: str) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset, each [x, y], that bring a picture from one width and height to another, as `resize_image` does with that mode."""
    scale = np.array(wanted) / size
    if fit != "stretch":
        scale[:] = scale.max() if fit == "cover" else scale.min()
    return scale, (np.array(wanted) - scale * size) / 2


def moved(figure: Figure, scale: np.ndarray, offset: np.ndarray, width: int, height: int) -> Figure:
    """Every point times `scale` plus `offset`, each [x, y], in a picture of width x height."""
    scale, offset = np.append(scale, 1.0), np.append(offset, 0.0)  # scores stay
    parts = {name: getattr(figure, name) * scale + offset for name in ("body", "right_hand", "left_hand", "face")}
    return replace(figure, width=width, height=height, **parts)
