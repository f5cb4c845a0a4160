"""Key points of one person, in the order of OpenPose, and how they are read from a POSE_KEYPOINT of ComfyUI's detector packs.

Key points are [n, 3]: x and y in pixels, and a score, 0 where the detector found nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError

BODY, HAND, FACE = 18, 21, 68
NOSE, NECK = 0, 1
RIGHT_WRIST, LEFT_WRIST = 4, 7
THRESHOLD = 0.3  # below this score a key point is not used
NORMALISED = 2.0  # coordinates that do not reach this are shares of the picture's sides


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


@dataclass(frozen=True)
class Reading:
    """A clip of figures. carried: how many frames had nobody in them and got the figure of the nearest frame before or after."""

    figures: tuple[Figure, ...]
    carried: int


def read_figures(frames: Sequence[Mapping[str, Any]]) -> Reading:
    """The person with the highest mean score in each frame of a POSE_KEYPOINT.

    Raises InputError for what is not one, and where no frame holds a person.
    """
    if not isinstance(frames, Sequence) or not frames or not all(isinstance(frame, Mapping) and "people" in frame for frame in frames):
        raise InputError("The key points are not a POSE_KEYPOINT, a list with the people of each frame; connect a DWPose or OpenPose node.")
    found = [read_frame(frame) for frame in frames]
    first = next((figure for figure in found if figure is not None), None)
    if first is None:
        raise InputError(f"None of the {len(frames)} frames of key points holds a person; use a clip in which the detector finds one.")
    figures, last = [], first
    for figure in found:
        last = figure or last
        figures.append(last)
    return Reading(tuple(figures), sum(figure is None for figure in found))


def read_frame(frame: Mapping[str, Any]) -> Figure | None:
    """The person with the highest mean score of the body; None where there is none with a neck."""
    width, height = int(frame.get("canvas_width") or 512), int(frame.get("canvas_height") or 512)
    people = [read_person(person, width, height) for person in frame["people"] or ()]
    people = [person for person in people if person.sees(NECK)]
    return max(people, key=lambda person: person.body[:, 2].mean(), default=None)


def read_person(person: Mapping[str, Any], width: int, height: int) -> Figure:
    parts = {name: person.get(f"{name}_keypoints_2d") for name in ("pose", "hand_right", "hand_left", "face")}
    body = points(parts["pose"], BODY)
    scale = np.array([width, height, 1.0]) if body[:, :2].max() < NORMALISED else np.ones(3)
    right, left = (points(parts[name], HAND) * scale for name in ("hand_right", "hand_left"))
    return Figure(body * scale, right, left, points(parts["face"], FACE) * scale, width, height)


def points(flat: Sequence[float] | None, count: int) -> np.ndarray:
    """[count, 3]; zeros for points that are not there. Points beyond `count` (feet, pupils) are left out."""
    out = np.zeros((count, 3))
    if flat:
        rows = np.asarray(flat, dtype=float)
        rows = rows[: len(rows) // 3 * 3].reshape(-1, 3)[:count]
        out[: len(rows)] = np.nan_to_num(rows)
    return out


def resized(figure: Figure, width: int, height: int) -> Figure:
    """The same in a picture stretched to another size."""
    scale = np.array([width / figure.width, height / figure.height, 1.0])
    parts = {name: getattr(figure, name) * scale for name in ("body", "right_hand", "left_hand", "face")}
    return replace(figure, width=width, height=height, **parts)
