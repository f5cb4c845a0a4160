"""What to set so that the next clip moves as much as a target: a number where a family has a scale, else only the direction.

Cinemo's scale is `buckets`. No one has measured which motion SVD's motion_bucket_id or DynamiCrafter's fps and frame_stride give, so for
these there is only what can be measured: whether a clip that was made moves more or less than the target.
"""

from .buckets import MotionScore

ALIKE = 0.005  # of SSIM: half a bucket


def match_text(target: MotionScore, made: MotionScore | None = None) -> str:
    """The number for Cinemo, and, with a clip that was made, the direction for every family. Lines of text."""
    lines = [f"Target: SSIM {target.ssim:.3f}, motion bucket {target.bucket}.", f"Cinemo: set motion_bucket to {target.bucket}."]
    if made is None:
        return "\n".join(
            [*lines, "SVD, DynamiCrafter: their motion inputs have no measured scale. Connect a clip that you made to compare."]
        )
    lines.insert(1, f"Made: SSIM {made.ssim:.3f}, motion bucket {made.bucket}.")
    difference = made.ssim - target.ssim
    if abs(difference) <= ALIKE:
        return "\n".join([*lines[:2], "Both move alike: keep the setting that the clip was made with."])
    more, buckets = difference > 0, abs(target.bucket - made.bucket)
    lines[2] = f"The made clip moves {'less' if more else 'more'} than the target."
    word, opposite = ("raise", "lower") if more else ("lower", "raise")
    step = f"Cinemo: {word} motion_bucket by {buckets}" if buckets else f"Cinemo: {word} motion_bucket"
    return "\n".join(
        [
            *lines,
            f"{step}, counted from the setting that it was made with.",
            f"SVD: {word} motion_bucket_id, and compare again.",
            f"DynamiCrafter: {opposite} fps, or with the 256 model {word} frame_stride, and compare again.",
        ]
    )
