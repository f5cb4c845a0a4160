"""Motions of a drawn person: postures over one cycle, which ends where it began. Time goes from 0 to 1.

They are drawn by hand, from how gait and dance are described, not recorded.
"""

import math
from collections.abc import Callable

from .skeleton import Arm, Posture

STEP, LIFT = 0.17, 0.075  # walking: half of a step ahead of and behind the hips, and how high a foot is lifted
STANCE = 0.6  # the part of a cycle that a foot is on the ground


def wave_of(time: float, delay: float = 0.0) -> float:
    """A sine of one cycle, -1..1; `delay` in cycles."""
    return math.sin(2 * math.pi * (time - delay))


def ease(time: float) -> float:
    """From 0 to 1, slow at both ends."""
    time = min(max(time, 0.0), 1.0)
    return time * time * (3 - 2 * time)


def bump(time: float, start: float, end: float) -> float:
    """0 outside of start..end, 1 in the middle, smooth."""
    inside = (time - start) / (end - start)
    return 0.5 - 0.5 * math.cos(2 * math.pi * inside) if 0 < inside < 1 else 0.0


def walking_foot(time: float, across: float) -> tuple[float, float, float]:
    """On the ground it moves back under the body at one speed; then it swings ahead. The heel lifts before the foot leaves."""
    time %= 1.0
    if time < STANCE:
        heel = 0.035 * ease((time - 0.6 * STANCE) / (0.4 * STANCE))
        return across, heel, STEP * (1 - 2 * time / STANCE)
    swing = (time - STANCE) / (1 - STANCE)
    return across, 0.035 * (1 - ease(swing)) + LIFT * math.sin(math.pi * swing), STEP * (2 * ease(swing) - 1)


def walking_arm(swing: float) -> Arm:
    """swing: -1 behind, 1 ahead. The elbow bends more ahead than behind."""
    upper = 26 * swing - 4
    return Arm((upper, 9), (upper + 26 + 12 * swing, 4))


def walk(time: float) -> Posture:
    """The right heel touches the ground at time 0; each arm swings with the other leg."""
    swing = wave_of(time, -0.25)
    return Posture(
        right=walking_arm(-swing),
        left=walking_arm(swing),
        right_foot=walking_foot(time, -0.045),
        left_foot=walking_foot(time + 0.5, 0.045),
        sway=-0.014 * wave_of(time, 0.05),
        lean=1.5 * wave_of(time, 0.05),
        bow=2,
        twist=-7 * swing,
        look=5 * swing,
    )


def wave(time: float) -> Posture:
    """The right arm rises, waves three times and sinks again."""
    up = ease(time / 0.22) * ease((1 - time) / 0.22)
    swing = up * wave_of(3 * (time - 0.22) / 0.56) if 0.22 < time < 0.78 else 0.0
    return Posture(
        right=Arm((12 * bump(time, 0, 1), 9 + 73 * up), (14 + 10 * up * (1 - up), 4 + up * (168 + 26 * swing))),
        left=Arm((0, 9 + 3 * up), (14, 5)),
        sway=0.012 * up,
        lean=2.5 * up + 1.2 * swing,
        nod=3 * up,
        look=-4 * up,
    )


def turn(time: float) -> Posture:
    """Once around, in four small steps of each foot."""
    step = wave_of(4 * time)
    arm = 10 + 6 * bump(time, 0, 1)
    return Posture(
        right=Arm((10 * step, arm), (16 + 10 * step, 6)),
        left=Arm((-10 * step, arm), (16 - 10 * step, 6)),
        right_foot=(-0.06, 0.035 * max(step, 0.0) ** 2, 0.0),
        left_foot=(0.06, 0.035 * max(-step, 0.0) ** 2, 0.0),
        sway=0.014 * step,
        drop=0.006 * abs(step),
        turn=360 * time,
    )


def dance(time: float) -> Posture:
    """From side to side, the knees bend with every beat, and the arm of the free side is raised."""
    side, beat = wave_of(time), 0.5 - 0.5 * math.cos(4 * math.pi * time)  # beat: 1 at either side

    def arm(raised: float) -> Arm:
        passing = 4 * raised * (1 - raised)  # the forearms pass in front of the body
        return Arm((14 + 10 * passing, 24 + 62 * raised), (34 - 16 * raised + 34 * passing, 8 + 148 * raised))

    return Posture(
        right=arm(0.5 + 0.5 * side),
        left=arm(0.5 - 0.5 * side),
        right_foot=(-0.12, 0.03 * max(side, 0.0) ** 2, 0.0),
        left_foot=(0.12, 0.03 * max(-side, 0.0) ** 2, 0.0),
        sway=0.075 * side,
        drop=0.03 * (1 - beat),
        lean=-7 * side,
        twist=9 * side,
        look=-6 * side,
        nod=5 * (1 - beat),
    )


def jumping_jacks(time: float) -> Posture:
    """Feet apart and arms over the head, and back, with a small hop each way."""
    apart = 0.5 - 0.5 * math.cos(2 * math.pi * time)
    hop = max(0.0, wave_of(2 * time))  # from either stand to the other
    passing = 4 * apart * (1 - apart)  # the elbows are bent on the way
    arm = Arm((8 + 14 * passing, 10 + 135 * apart), (14 + 34 * passing, 8 + 155 * apart))
    return Posture(
        right=arm,
        left=arm,
        right_foot=(-0.06 - 0.13 * apart, 0.0, 0.0),
        left_foot=(0.06 + 0.13 * apart, 0.0, 0.0),
        hop=0.05 * hop,
        drop=0.02 * bump((2 * time + 0.5) % 1.0, 0.1, 0.9),
    )


MOTIONS: dict[str, Callable[[float], Posture]] = {
    "walk": walk,
    "wave": wave,
    "turn": turn,
    "dance": dance,
    "jumping jacks": jumping_jacks,
}
