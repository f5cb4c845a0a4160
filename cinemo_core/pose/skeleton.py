"""A person in three dimensions: from a posture to joints, and from joints to a figure in a picture.

Lengths are parts of the body's height. x points to the right of the picture, y up, z at the viewer, whom the body faces; the ground is
y = 0. So the person's right side is at negative x.
"""

import math
from dataclasses import dataclass

import numpy as np

from .figure import BODY, FACE, HAND, NECK, NOSE, Figure

HIP_HEIGHT, ANKLE_HEIGHT = 0.53, 0.04
TORSO, HIPS, SHOULDERS = 0.29, 0.055, 0.115  # the hips' and shoulders' half width
THIGH, SHIN, UPPER_ARM, FOREARM = 0.25, 0.25, 0.165, 0.145
STRETCHED = 0.985  # a leg is never quite straight
# From the neck, with the head upright: nose, right and left eye, right and left ear, as (across, up, ahead).
HEAD = ((0.0, 0.1, 0.06), (-0.02, 0.125, 0.045), (0.02, 0.125, 0.045), (-0.045, 0.113, -0.015), (0.045, 0.113, -0.015))
HEAD_POINTS = (NOSE, 14, 15, 16, 17)
# How a point of the head looks: seen unless this direction points away from the viewer.
OUTWARD = ((0.0, 0.0, 1.0), (-0.4, 0.0, 0.9), (0.4, 0.0, 0.9), (-1.0, 0.0, 0.1), (1.0, 0.0, 0.1))
AWAY = -0.2
# A finger's joints from the wrist, as (along the forearm, towards the thumb).
FINGERS = (
    ((0.018, 0.016), (0.032, 0.026), (0.044, 0.033), (0.054, 0.039)),
    ((0.052, 0.017), (0.072, 0.022), (0.084, 0.025), (0.095, 0.027)),
    ((0.054, 0.006), (0.077, 0.007), (0.091, 0.008), (0.103, 0.008)),
    ((0.052, -0.005), (0.072, -0.008), (0.085, -0.010), (0.096, -0.012)),
    ((0.048, -0.015), (0.063, -0.021), (0.073, -0.025), (0.083, -0.029)),
)
# The camera is at this distance and height. The person is this tall in the picture, and stands this far down in it.
DISTANCE, EYE_LEVEL = 3.5, 0.75
TALL, WIDE, GROUND = 0.75, 1.0, 0.93


@dataclass(frozen=True)
class Arm:
    """Where upper arm and forearm point, in degrees: ahead (0 down, 90 at the viewer) and outward (90 sideways, 180 up)."""

    upper: tuple[float, float] = (0.0, 9.0)
    fore: tuple[float, float] = (14.0, 4.0)


@dataclass(frozen=True)
class Posture:
    """right, left: what the arms do. right_foot, left_foot: an ankle's place (across, above its rest on the ground, ahead).

    sway, drop: the hips move to the side, and down from where the legs are stretched. hop: the whole body above the ground.
    lean: the torso to the side, bow: ahead, twist: shoulders against hips, nod and look: the head down and to its left, turn: the whole
    body to its left, all in degrees.
    """

    right: Arm = Arm()
    left: Arm = Arm()
    right_foot: tuple[float, float, float] = (-0.06, 0.0, 0.0)
    left_foot: tuple[float, float, float] = (0.06, 0.0, 0.0)
    sway: float = 0.0
    drop: float = 0.0
    hop: float = 0.0
    lean: float = 0.0
    bow: float = 0.0
    twist: float = 0.0
    nod: float = 0.0
    look: float = 0.0
    turn: float = 0.0


@dataclass(frozen=True)
class Joints:
    """Points in space: body [18, 3], hands [21, 3] each; and which points of the body the viewer sees, [18]."""

    body: np.ndarray
    right_hand: np.ndarray
    left_hand: np.ndarray
    seen: np.ndarray


def pose(posture: Posture, view: float = 0.0) -> Joints:
    """view: by how many degrees the person is turned to their left before the posture's own turn."""
    body = np.zeros((BODY, 3))
    hands = []
    hips = np.array([posture.sway, hip_height(posture), 0.0])
    torso = about_z(-posture.lean) @ about_x(posture.bow) @ about_y(posture.twist)
    body[NECK] = hips + torso @ (0.0, TORSO, 0.0)
    for side, arm, foot, first in ((-1, posture.right, posture.right_foot, 2), (1, posture.left, posture.left_foot, 5)):
        shoulder = body[NECK] + torso @ (side * SHOULDERS, -0.01, 0.0)
        elbow = shoulder + torso @ direction(*arm.upper, side) * UPPER_ARM
        wrist = elbow + torso @ direction(*arm.fore, side) * FOREARM
        body[first : first + 3] = shoulder, elbow, wrist
        hands.append(hand(wrist, torso @ direction(*arm.fore, side), side))
        hip, ankle = hips + np.array([side * HIPS, 0.0, 0.0]), np.array([0.0, ANKLE_HEIGHT, 0.0]) + foot
        body[first + 6 : first + 9] = hip, knee(hip, ankle, side), ankle
    head = torso @ about_y(posture.look) @ about_x(posture.nod)
    body[list(HEAD_POINTS)] = body[NECK] + np.array(HEAD) @ head.T
    whole = about_y(view + posture.turn)
    seen = np.ones(BODY, dtype=bool)
    seen[list(HEAD_POINTS)] = (np.array(OUTWARD) @ (whole @ head).T)[:, 2] > AWAY
    hop = np.array([0.0, posture.hop, 0.0])
    body, right_hand, left_hand = (found @ whole.T + hop for found in (body, *hands))
    return Joints(body, right_hand, left_hand, seen)


def hip_height(posture: Posture) -> float:
    """As high as both legs reach, as in walking, where the hips rise and fall over the standing leg."""
    reach = (THIGH + SHIN) * STRETCHED
    heights = [HIP_HEIGHT]
    for side, (across, above, ahead) in ((-1, posture.right_foot), (1, posture.left_foot)):
        away = math.hypot(across - posture.sway - side * HIPS, ahead)
        heights.append(ANKLE_HEIGHT + above + math.sqrt(max(reach**2 - away**2, 0.0)))
    return min(heights) - posture.drop


def knee(hip: np.ndarray, ankle: np.ndarray, side: int) -> np.ndarray:
    """Where the two bones of a leg meet; it bends ahead and a little outward."""
    leg = ankle - hip
    long = min(float(np.linalg.norm(leg)), THIGH + SHIN)
    along = leg / np.linalg.norm(leg)
    ahead = np.array([0.15 * side, 0.0, 1.0])
    ahead -= along * (ahead @ along)
    down = (long**2 + THIGH**2 - SHIN**2) / (2 * long)
    return hip + along * down + ahead / np.linalg.norm(ahead) * math.sqrt(max(THIGH**2 - down**2, 0.0))


def direction(ahead: float, outward: float, side: int) -> np.ndarray:
    ahead, outward = math.radians(ahead), math.radians(outward)
    return np.array([side * math.sin(outward) * math.cos(ahead), -math.cos(outward) * math.cos(ahead), math.sin(ahead)])


def hand(wrist: np.ndarray, along: np.ndarray, side: int) -> np.ndarray:
    """[21, 3], open. The palm of a hanging hand faces the body, that of a raised one the viewer."""
    raised = (1 + along[1]) / 2
    palm = np.array([-side * (1 - raised), 0.0, raised])
    thumb = np.cross(palm, along) * side
    thumb /= max(float(np.linalg.norm(thumb)), 1e-6)
    joints = [wrist + along * far + thumb * aside for finger in FINGERS for far, aside in finger]
    return np.stack([wrist, *joints])


def about_x(degrees: float) -> np.ndarray:
    """The upper end comes ahead."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(degrees: float) -> np.ndarray:
    """The face goes to the right of the picture, which is the person's left."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(degrees: float) -> np.ndarray:
    """The upper end goes to the left of the picture."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def photograph(joints: Joints, width: int, height: int) -> Figure:
    """The figure in a picture of this size: in its middle, with some room around it."""
    unit = min(TALL * height, WIDE * width)

    def project(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
        nearer = DISTANCE / (DISTANCE - points[:, 2:])
        across, up = points[:, :1] * nearer, (points[:, 1:2] - EYE_LEVEL) * nearer + EYE_LEVEL
        return np.concatenate([width / 2 + across * unit, GROUND * height - up * unit, seen[:, None].astype(float)], axis=1)

    right_hand, left_hand = (project(found, np.ones(HAND)) for found in (joints.right_hand, joints.left_hand))
    return Figure(project(joints.body, joints.seen), right_hand, left_hand, np.zeros((FACE, 3)), width, height)
