"""A person for the tests: OpenPose's 18 points, and the frames of a POSE_KEYPOINT."""

from cinemo_pack.cinemo_core.pose.figure import Figure
from cinemo_pack.cinemo_core.pose.keypoints import read_figures

# Facing the viewer, arms and legs spread, in a picture of 200 x 300: x, y.
STANDING = [(100, 40), (100, 70), (75, 75), (55, 105), (40, 135), (125, 75), (145, 105), (160, 135), (85, 150), (80, 200), (75, 250)]
STANDING += [(115, 150), (120, 200), (125, 250), (94, 34), (106, 34), (86, 38), (114, 38)]


def person(points=STANDING, score: float = 1.0, hand: bool = False) -> dict:
    flat = [value for x, y in points for value in (x, y, score)]
    right = [value for i in range(21) for value in (points[4][0] + i, points[4][1] + i, 1.0)] if hand else None
    return {"pose_keypoints_2d": flat, "face_keypoints_2d": None, "hand_left_keypoints_2d": None, "hand_right_keypoints_2d": right}


def frame(*people: dict, width: int = 200, height: int = 300) -> dict:
    return {"people": list(people), "canvas_width": width, "canvas_height": height}


def figure(points=STANDING, **options) -> Figure:
    return read_figures([frame(person(points, **options))]).figures[0]


def scaled(points, factor: float, shift=(0, 0)):
    return [(x * factor + shift[0], y * factor + shift[1]) for x, y in points]


def without(found: Figure, *points: int) -> Figure:
    """The figure without these points of its body."""
    found.body[list(points), 2] = 0
    return found
