"""The direction that a caption names, and the one that a clip moves in."""

import numpy as np

from .flow import global_motion, local_shift

# Ending of a caption -> direction. A camera that goes left shows a picture that goes right.
DIRECTIONS = {
    "camera pans left": "right",
    "camera pans right": "left",
    "camera tilts up": "down",
    "camera tilts down": "up",
    "camera zooms in": "outwards",
    "camera zooms out": "inwards",
    "camera rolls clockwise": "counterclockwise",
    "camera rolls counterclockwise": "clockwise",
    "moves left": "left",
    "moves right": "right",
    "drift left": "left",
    "drift right": "right",
    "rises": "up",
    "falls": "down",
}


def direction_of(caption: str) -> str:
    """The direction in which what is seen moves by the caption."""
    return next(direction for ending, direction in DIRECTIONS.items() if caption.endswith(ending))


def read_direction(frames: np.ndarray, mask: np.ndarray | None) -> str:
    """The direction of a clip uint8 [f, h, w, 3]: of what stands in the mask, or without one of the whole picture."""
    if mask is not None:
        right, down = local_shift(frames, mask)
        return strongest({"right": right, "left": -right, "down": down, "up": -down})
    motion = global_motion(frames)
    return strongest(
        {
            "right": motion.right,
            "left": -motion.right,
            "down": motion.down,
            "up": -motion.down,
            "outwards": motion.outwards,
            "inwards": -motion.outwards,
            "clockwise": motion.clockwise,
            "counterclockwise": -motion.clockwise,
        }
    )


def strongest(strengths: dict[str, float]) -> str:
    return max(strengths, key=strengths.__getitem__)
