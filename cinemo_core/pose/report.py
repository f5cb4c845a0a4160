"""What an alignment did, in sentences."""

from .align import SEGMENTS, Alignment


def describe_alignment(alignment: Alignment, carried: int) -> str:
    """One sentence a line: frames, sizes, what could not be compared, where the figure stands."""
    proportions = alignment.proportions
    sizes = ", ".join(f"{name} {proportions.segments[name]:.2f}" for name in proportions.compared)
    lines = [
        describe_frames(len(alignment.figures), carried),
        f"The figure is {proportions.scale:.2f} times as large as in the clip. Compared were: {sizes}.",
    ]
    if others := [name for name in SEGMENTS if name not in proportions.compared]:
        lines.append(f"Not seen in both, so scaled like the whole figure: {', '.join(others)}.")
    if alignment.grounded:
        lines.append("It stands at the height of the reference's lower ankle.")
    else:
        lines.append("Ankles are not seen in both, so its neck begins at the reference's neck.")
    return "\n".join(lines)


def describe_frames(frames: int, carried: int) -> str:
    if not carried:
        return f"{frames} frames, each with the person."
    return f"{frames} frames; the person is missing in {carried}, which repeat the frame before or the first with the person."
