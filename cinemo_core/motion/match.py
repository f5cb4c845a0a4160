"""What to set so that the next clip moves as much as a target: a number where there is a scale, else only the direction.

Cinemo's motion bucket is the scale of `buckets`. For the motion inputs of other models nobody has measured one, so for these there is only
what can be measured: whether a clip that was made moves more or less than the target.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .buckets import MotionScore

ALIKE = 0.005  # of SSIM: half a bucket


class MotionInput(NamedTuple):
    """A motion input without a measured scale. model: whose; more, less: what to do to it for more motion and for less."""

    model: str
    more: str
    less: str


SVD = MotionInput("SVD", "raise motion_bucket_id", "lower motion_bucket_id")  # ComfyUI's own


def match_text(target: MotionScore, made: MotionScore | None = None, others: Sequence[MotionInput] = (SVD,)) -> str:
    """The number for Cinemo, and, with a clip that was made, the direction for Cinemo and the others. Lines of text."""
    wanted = f"Target: SSIM {target.ssim:.3f}, motion bucket {target.bucket}."
    if made is None:
        models = ", ".join(other.model for other in others)
        compare = f"{models}: their motion inputs have no measured scale. Connect a clip that you made to compare."
        return "\n".join([wanted, f"Cinemo: set motion_bucket to {target.bucket}.", compare])
    lines = [wanted, f"Made: SSIM {made.ssim:.3f}, motion bucket {made.bucket}."]
    if abs(made.ssim - target.ssim) <= ALIKE:
        return "\n".join([*lines, "Both move alike: keep the setting that the clip was made with."])
    more, buckets = made.ssim > target.ssim, abs(target.bucket - made.bucket)
    by = f" by {buckets}" if buckets else ""
    return "\n".join(
        [
            *lines,
            f"The made clip moves {'less' if more else 'more'} than the target.",
            f"Cinemo: {'raise' if more else 'lower'} motion_bucket{by}, counted from the setting that it was made with.",
            *(f"{other.model}: {other.more if more else other.less}, and compare again." for other in others),
        ]
    )
