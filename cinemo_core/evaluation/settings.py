"""What an evaluation is asked for, and the protocols of the paper (sec. 4.1, Table 1)."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..resize import RESIZE_MODES

METRICS = ("fvd", "kvd", "is", "fid", "clipsim", "pic")
PAIRED_WITH_REAL = frozenset({"fvd", "kvd", "fid"})  # the others look at generated clips only
FRAMES = 16
STARTS = ("random", "first")


@dataclass(frozen=True)
class Protocol:
    """What the paper measures on a data set. clips: how many videos, or None for all of both folders."""

    clips: int | None
    metrics: tuple[str, ...]
    text: str


PROTOCOLS = {
    "ucf101": Protocol(2048, ("fvd", "is", "fid"), "UCF-101, 2,048 random videos, 16 frames"),
    "msrvtt": Protocol(2990, ("fvd", "clipsim"), "the test set of MSR-VTT, 2,990 videos, 16 frames"),
    "folder": Protocol(None, METRICS, "every clip of both folders"),
}


@dataclass(frozen=True)
class Settings:
    """An evaluation, checked when made.

    protocol: a name of PROTOCOLS. metrics: names of METRICS. clips: videos to take from each folder, None for all.
    width, height, resize: what every frame is brought to, by a mode of `resize_image`, before a network sees it.
    real_stride, real_start: every how manieth frame of a real video is taken, and from where; a generated clip is read from
    its first frame on. splits: parts of the inception score. seed: of the choice of videos and of starts.
    images: folder with the input images of the generated clips; without one their first frames are used instead.
    Raises InputError for what makes no sense together.
    """

    generated: Path
    real: Path | None
    protocol: str
    metrics: tuple[str, ...]
    clips: int | None
    frames: int = FRAMES
    width: int = 256
    height: int = 256
    resize: str = "cover"
    real_stride: int = 1
    real_start: str = "random"
    seed: int = 0
    splits: int = 10
    captions: Path | None = None
    images: Path | None = None
    batch_size: int = 4
    workers: int = 0

    def __post_init__(self) -> None:
        for option in ("frames", "width", "height", "real_stride", "splits", "batch_size"):
            _at_least(1, option, getattr(self, option))
        _at_least(0, "workers", self.workers)
        if self.clips is not None:
            _at_least(1, "clips", self.clips)
        if self.resize not in RESIZE_MODES:
            raise InputError(f"The resize mode is {self.resize!r}; choose one of {', '.join(RESIZE_MODES)}.")
        needing = [metric.upper() for metric in self.metrics if metric in PAIRED_WITH_REAL]
        if needing and self.real is None:
            raise InputError(f"{', '.join(needing)} compare generated with real clips; give the folder of the real ones with --real.")
        if "clipsim" in self.metrics and self.captions is None:
            raise InputError("CLIPSIM compares clips with their captions; give a CSV or JSONL file of them with --captions.")


def _at_least(least: int, option: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"--{option.replace('_', '-')} is {value!r}; choose a whole number of at least {least}.")
