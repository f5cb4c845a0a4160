"""Clips of some captions, shown more often than the others: for what is rare in the data, or hard to learn."""

from array import array
from collections.abc import Iterable, Sequence

from ..errors import InputError
from .config import Repeat
from .latents import LatentCache, Measured


class RepeatedClips:
    """The clips of a cache, by number, some of them several times.

    Holds eight bytes for each clip and repeat. Raises InputError where the words of a repeat stand in no caption.
    """

    def __init__(self, clips: LatentCache, repeats: Sequence[Repeat]) -> None:
        self.clips = clips
        self.order = ordered(clips.captions(), repeats)

    def __len__(self) -> int:
        return len(self.order)

    def clip(self, index: int, draw: int) -> Measured:
        return self.clips.clip(self.order[index], draw)


def ordered(captions: Iterable[str], repeats: Sequence[Repeat]) -> array:
    """The numbers of the clips, each as often as the first repeat says whose words stand in its caption, else once."""
    order, found = array("q"), set()
    for index, caption in enumerate(captions):
        repeat = next((repeat for repeat in repeats if repeat.words in caption), None)
        found.add(repeat)
        order.extend([index] * (repeat.times if repeat else 1))
    for repeat in repeats:
        if repeat not in found:
            raise InputError(
                f"data.repeats names {repeat.words!r}, but no clip has a caption with these words that an earlier entry does not take; "
                "correct or remove the entry."
            )
    return order
