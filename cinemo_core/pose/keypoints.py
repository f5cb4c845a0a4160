"""Reads figures from a POSE_KEYPOINT, as ComfyUI's DWPose and OpenPose nodes give it, and writes one.

A POSE_KEYPOINT is a list with one entry per frame: OpenPose's JSON, with the size of the picture in `canvas_width` and `canvas_height`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .figure import BODY, FACE, HAND, LEFT_SHOULDER, NECK, RIGHT_SHOULDER, Figure, fitted

NORMALISED = 2.0  # coordinates that do not reach this are shares of the picture's sides
CANVAS = 512  # pixels of a side, where a frame does not say
REACH = 0.5  # how far a person gets from one frame to the next, in parts of their own size
# OpenPose's 25 points have the middle of the hips after the left wrist; 24 are DWPose's 18 and six of the feet.
BODY_25 = (*range(8), *range(9, 19))
PARTS = {
    "body": ("pose_keypoints_2d", BODY),
    "right_hand": ("hand_right_keypoints_2d", HAND),
    "left_hand": ("hand_left_keypoints_2d", HAND),
    "face": ("face_keypoints_2d", FACE),
}


@dataclass(frozen=True)
class Reading:
    """A clip of figures in pictures of one size.

    carried: how many frames did not show the person and got the figure of the frame before, or of the first that has one.
    """

    figures: tuple[Figure, ...]
    carried: int


def read_figures(frames: Sequence[Mapping[str, Any]]) -> Reading:
    """One person through the frames of a POSE_KEYPOINT: of the first frame with people the one with the highest mean score, then
    whoever is nearest to where that person was. Frames of other sizes are brought to the size of the first.

    Raises InputError for what is no POSE_KEYPOINT, and where no frame holds a person.
    """
    if not isinstance(frames, Sequence) or not frames or not all(isinstance(frame, Mapping) and "people" in frame for frame in frames):
        raise InputError("The key points are not a POSE_KEYPOINT, a list with the people of each frame; connect a DWPose or OpenPose node.")
    people = [read_people(frame, number) for number, frame in enumerate(frames)]
    first = next((found[0] for found in people if found), None)
    if first is None:
        raise InputError(f"None of the {len(frames)} frames of key points holds a person; use a clip in which the detector finds one.")
    found = follow([[fitted(person, first.width, first.height, "pad") for person in frame] for frame in people])
    figures, last = [], next(figure for figure in found if figure is not None)
    for figure in found:
        last = figure or last
        figures.append(last)
    return Reading(tuple(figures), sum(figure is None for figure in found))


def follow(frames: Sequence[Sequence[Figure]]) -> list[Figure | None]:
    """The same person in each frame; None where nobody is within reach of where that person was seen last."""
    found: list[Figure | None] = []
    last: Figure | None = None
    since = 0  # frames since then
    for people in frames:
        since += 1
        person = most_certain(people) if last is None else nearest(people, last, REACH * size(last) * since)
        if person is not None:
            last, since = person, 0
        found.append(person)
    return found


def most_certain(people: Sequence[Figure]) -> Figure | None:
    """By the mean score of the body's points; of equals the largest."""
    return max(people, key=lambda person: (person.body[:, 2].mean(), size(person)), default=None)


def nearest(people: Sequence[Figure], last: Figure, reach: float) -> Figure | None:
    """Whoever is nearest to where `last` was, if not farther than `reach` pixels."""
    person = min(people, key=lambda figure: distance(figure, last), default=None)
    return person if person is not None and distance(person, last) <= reach else None


def size(figure: Figure) -> float:
    """The longer side of the box around the body, in pixels."""
    points = figure.body[figure.seen, :2]
    return float(np.ptp(points, axis=0).max())


def distance(figure: Figure, other: Figure) -> float:
    """How far the points that both show are apart in the mean, in pixels; both show the neck."""
    shared = figure.seen & other.seen
    return float(np.linalg.norm(figure.body[shared, :2] - other.body[shared, :2], axis=1).mean())


def read_people(frame: Mapping[str, Any], number: int) -> list[Figure]:
    """The people of a frame who show the neck, or both shoulders and so a neck."""
    try:
        width, height = int(frame.get("canvas_width") or CANVAS), int(frame.get("canvas_height") or CANVAS)
        people = [read_person(person, width, height) for person in frame["people"] or ()]
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"The key points of frame {number} are not those of OpenPose's JSON, flat lists of x, y and score; connect a DWPose or "
            "OpenPose node."
        ) from None
    if width < 1 or height < 1:
        raise InputError(f"The picture of frame {number} of the key points is {width}x{height}; expected at least 1 pixel on each side.")
    return [person for person in people if person.sees(NECK)]


def read_person(person: Mapping[str, Any], width: int, height: int) -> Figure:
    parts = {name: points(person.get(key), count) for name, (key, count) in PARTS.items()}
    body = parts["body"]
    if not body[NECK, 2] and body[RIGHT_SHOULDER, 2] and body[LEFT_SHOULDER, 2]:
        body[NECK] = (body[RIGHT_SHOULDER] + body[LEFT_SHOULDER]) / 2
    if body[:, :2].max() < NORMALISED:
        parts = {name: found * (width, height, 1.0) for name, found in parts.items()}
    return Figure(**parts, width=width, height=height)


def points(flat: Sequence[float] | None, count: int) -> np.ndarray:
    """[count, 3]; zeros for points that are not there. Points beyond `count` (feet, pupils) are left out.

    Scores may be missing, as pairs of x and y or as none above 0: a point is then seen unless it is at (0, 0).
    """
    out = np.zeros((count, 3))
    values = np.nan_to_num(np.asarray(flat if flat is not None else [], dtype=float).reshape(-1), posinf=0.0, neginf=0.0)
    pairs = len(values) == 2 * count
    rows = values.reshape(-1, 2) if pairs else values[: len(values) // 3 * 3].reshape(-1, 3)
    if count == BODY and len(rows) == 25:
        rows = rows[list(BODY_25)]
    rows = rows[:count]
    out[: len(rows), : rows.shape[1]] = rows
    if not (out[:, 2] > 0).any():
        out[:, 2] = out[:, :2].any(axis=1)
    return out


def write_figures(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """A POSE_KEYPOINT of one person, in pixels; zeros for points that are not used."""
    return [
        {
            "people": [{key: flat(getattr(figure, name)) for name, (key, _) in PARTS.items()}],
            "canvas_width": figure.width,
            "canvas_height": figure.height,
        }
        for figure in figures
    ]


def flat(found: np.ndarray) -> list[float] | None:
    """x, y, score of each point, one after the other; None where no point was found."""
    seen = found[:, 2:] > 0
    return np.where(seen, found, 0.0).reshape(-1).tolist() if seen.any() else None
