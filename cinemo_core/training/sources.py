"""The sources of clips: which there are, and how a clip is drawn from one."""

from ..errors import InputError
from ..media.errors import BadMedia
from .additions import procedural_clips
from .clips import BadClips, Clip, Source
from .config import Data
from .seeds import number


def open_source(data: Data) -> Source:
    """The source that a configuration asks for. Raises InputError where it is not there."""
    if data.source == "procedural":
        return procedural_clips(data)
    from .videos import Videos

    return Videos(data)


def draw_clip(source: Source, index: int, draw: int, bad_clips: BadClips, attempts: int = 100) -> Clip:
    """Clip `index` of a source; a bad one is noted, and another, chosen by `draw`, takes its place.

    Raises InputError when `attempts` in a row are bad.
    """
    for attempt in range(attempts):
        try:
            return source.clip(index, number(draw, attempt))
        except BadMedia as error:
            reason = str(error)
            bad_clips.add(index, reason)
        index = number(draw, "instead", attempt) % len(source)
    raise InputError(f"{attempts} clips in a row could not be used, the last because {reason}; check data.path.")
