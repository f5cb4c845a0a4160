"""How near few evaluations come to the exact result on held-out clips, by sampler and schedule, and the figure that shows it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from cinemo_core.motion.plot import Level, Line, Panel, draw

from .clips import FINE, GUIDANCES, Clips, Guidance, held_out_tasks, load_nano
from .search import error

if TYPE_CHECKING:
    from PIL import Image

BASELINE = "ddim", "cinemo_ddim", 50  # what the authors take
COUNTS = (6, 8, 10, 12, 16, 20, 30, 50)
WAYS = {  # sampler and scheduler, with their colour in the figure
    ("dpmpp_2m", "cinemo_fast"): (255, 190, 60),
    ("deis", "cinemo_fast"): (255, 105, 97),
    ("dpmpp_2m", "beta"): (110, 165, 255),
    ("ipndm_v", "cinemo_fast"): (108, 208, 120),
    ("dpmpp_2m", "simple"): (190, 140, 255),
    ("ddim", "cinemo_ddim"): (150, 150, 160),
}
SIZE = (1200, 1300)


class Measured(NamedTuple):
    """relative: error of each clip against the baseline's, in dB, below 0 being nearer to the exact result."""

    guidance: str
    sampler: str
    scheduler: str
    evaluations: int
    relative: list[float]

    @property
    def mean(self) -> float:
        return sum(self.relative) / len(self.relative)

    def __str__(self) -> str:
        clips = " ".join(f"{value:+.1f}" for value in self.relative)
        return f"{self.guidance:<8}{self.sampler:<10}{self.scheduler:<12}{self.evaluations:>3}{self.mean:>+7.1f}   clips: {clips}"


def measure(counts: Sequence[int], known: Sequence[Measured] = ()) -> Iterator[Measured]:
    """Everything that is not among what is known."""
    done = {one[:4] for one in known}
    for guidance in GUIDANCES:
        left = [(*way, count) for way in WAYS for count in counts if (str(guidance), *way, count) not in done]
        if left:
            yield from measure_clips(Clips(load_nano(), held_out_tasks(), guidance), guidance, left)


def measure_clips(clips: Clips, guidance: Guidance, runs: Sequence[tuple[str, str, int]]) -> Iterator[Measured]:
    exact = clips.sample(*FINE)
    baseline = errors(clips.sample(*BASELINE), exact)
    for sampler, scheduler, count in runs:
        found = errors(clips.sample(sampler, scheduler, count), exact)
        yield Measured(str(guidance), sampler, scheduler, count, [ours - theirs for ours, theirs in zip(found, baseline, strict=True)])


def errors(found: Tensor, exact: Tensor) -> list[float]:
    """Of each clip, in dB."""
    return error(found.flatten(1), exact.flatten(1)).tolist()


def figure(measured: Sequence[Measured], counts: Sequence[int]) -> "Image.Image":
    """A panel for each guidance, a line for each sampler with a schedule that all counts were measured with, RGB."""
    title, below = "Few evaluations", f"error against the exact result, in dB above that of {BASELINE[2]} steps of DDIM: lower is better"
    panels = [panel(str(guidance), measured, sorted(counts)) for guidance in GUIDANCES]
    return draw(title, below, panels, 1, *SIZE)


def panel(guidance: str, measured: Sequence[Measured], counts: Sequence[int]) -> Panel:
    means = {(one.sampler, one.scheduler, one.evaluations): one.mean for one in measured if one.guidance == guidance}
    lines = [
        Line([means[sampler, scheduler, count] for count in counts], colour, sampler if sampler in BASELINE else f"{sampler} {scheduler}")
        for (sampler, scheduler), colour in WAYS.items()
        if all((sampler, scheduler, count) in means for count in counts)
    ]
    return Panel(guidance, "evaluations", counts, lines, -1.0, 1.0, levels=[Level(0.0, f"{BASELINE[2]} of ddim")])
