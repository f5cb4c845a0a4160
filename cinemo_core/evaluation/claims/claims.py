"""The claims of the paper, each measured on held-out pictures and held against its bar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ...motion.buckets import BUCKETS, bucket_of_motion_id, motion_id_of_ssim
from ...training.latents import mean_ssim
from ...training.objective import DIRECT, RESIDUAL
from ...training.sampling import CUTOFF
from .animate import Animator, Task
from .cases import THING_VERBS, Case
from .direction import direction_of, read_direction
from .measures import colour_shift, identity, largest_jump, sign_test, spearman, unrest

GROUPS = 5
RANK = "Spearman of requested and measured bucket"
DIRECTION = "direction by optical flow"
IDENTITY = "PSNR of frames warped back"
CONSISTENCY = "consistency with the input"
CONSISTENCY_BAR = "residual better, paired, p < 0.05"
INITIAL_NOISES = ("dctinit", "none", "fftinit")
Clips = Callable[[Animator, Sequence[Task]], list[np.ndarray]]


@dataclass(frozen=True)
class Row:
    """One measure: what was asked, what came out, and whether it reaches its bar. `values` is what a figure can be drawn from."""

    claim: str
    measure: str
    result: str
    bar: str
    passed: bool
    values: dict = field(default_factory=dict)


def measured_bucket(frames: np.ndarray) -> int:
    """The bucket of a clip uint8 [f, h, w, 3] by its SSIM, as training measures it."""
    return bucket_of_motion_id(motion_id_of_ssim(mean_ssim(torch.from_numpy(frames).permute(0, 3, 1, 2))))


def bucket_control(animator: Animator, cases: Sequence[Case], clips: Clips) -> list[Row]:
    """Every bucket on every case; each case has a seed of its own.

    The correlation is over all clips at once, so it also falls where the buckets of one picture are not those of another.
    """
    tasks = [Task(case.image, case.caption, bucket, seed) for seed, case in enumerate(cases) for bucket in range(BUCKETS)]
    requested = np.array([task.bucket for task in tasks])
    measured = np.array([measured_bucket(clip) for clip in clips(animator, tasks)])
    rank = spearman(requested, measured)
    within = float(np.mean([spearman(np.arange(BUCKETS), picture) for picture in measured.reshape(-1, BUCKETS)]))
    means = [measured[requested // (BUCKETS // GROUPS) == group].mean() for group in range(GROUPS)]
    rising = bool((np.diff(means) > 0).all())
    error = float(np.abs(requested - measured).mean())
    claim = "motion buckets control intensity"
    per_bucket = {str(b): measured[requested == b].tolist() for b in range(BUCKETS)}
    result = f"{rank:.3f} (on one picture {within:.3f} in the mean); group means {', '.join(f'{m:.1f}' for m in means)}"
    return [
        Row(claim, RANK, result, ">= 0.9, means rise", rank >= 0.9 and rising, per_bucket),
        Row(claim, "mean error in buckets", f"{error:.2f}", "<= 3", error <= 3),
    ]


def text_control(animator: Animator, cases: Sequence[Case], clips: Clips) -> list[Row]:
    """The direction of each clip against its caption's; cases of one caption differ in picture and seed."""
    shares = directions_obeyed(animator, cases, clips, kind_of)
    counts = {kind: sum(kind_of(case.caption) == kind for case in cases) for kind in shares}
    share = sum(shares[kind] * counts[kind] for kind in shares) / len(cases)
    return [Row("text controls the motion", DIRECTION, f"{share:.1%} of {len(cases)}", ">= 85 %", share >= 0.85, shares)]


def directions_obeyed(animator: Animator, cases: Sequence[Case], clips: Clips, kind: Callable[[str], str]) -> dict[str, float]:
    """Share of the clips that move as their caption says, by the kind of the caption."""
    tasks = [Task(case.image, case.caption, case.bucket, seed) for seed, case in enumerate(cases)]
    kinds: dict[str, list[bool]] = {}
    for clip, case in zip(clips(animator, tasks), cases, strict=True):
        kinds.setdefault(kind(case.caption), []).append(read_direction(clip, case.mask) == direction_of(case.caption))
    return {name: float(np.mean(hits)) for name, hits in kinds.items()}


def kind_of(caption: str) -> str:
    """The caption without what its thing is: "the red ball falls" -> "thing falls"."""
    return next((f"thing {verb}" for verb in THING_VERBS if caption.endswith(verb)), caption)


def consistency(residual: Animator, direct: Animator, cases: Sequence[Case], noises: int, clips: Clips) -> list[Row]:
    """Two equally trained networks on the same pictures, captions, buckets and seeds; a picture's value is the mean over its noises.

    How much each moves is reported as well, as a clip that stands still would lose nothing of the picture.
    """
    tasks = [Task(case.image, case.caption, case.bucket, seed) for seed, case in enumerate(list(cases) * noises)]
    kept, moved = {}, {}
    for name, who in ((RESIDUAL, residual), (DIRECT, direct)):
        made = clips(who, tasks)
        kept[name] = np.reshape([identity(clip[3::4], clip[0]) for clip in made], (noises, -1)).mean(0)
        moved[name] = np.mean([measured_bucket(clip) for clip in made])
    ours, other = kept.values()
    p = sign_test(ours - other)
    means = ", ".join(f"{name} {kept[name].mean():.2f} dB in bucket {moved[name]:.1f}" for name in kept)
    asked = np.mean([case.bucket for case in cases])
    result = f"{means} (asked for {asked:.1f}); residual better on {int((ours > other).sum())} of {len(cases)} (p = {p:.2g})"
    values = {name: kept[name].tolist() for name in kept}
    return [Row(CONSISTENCY, IDENTITY, result, CONSISTENCY_BAR, bool(ours.mean() > other.mean() and p < 0.05), values)]


def initial_noise(animator: Animator, cases: Sequence[Case], clips: Clips) -> list[Row]:
    """DCTInit, plain noise and FFTInit from the same noise.

    The paper's cutoff, or where that would keep the mean alone, in which the two transforms are one, the next coefficient too.
    """
    smallest_side = min(min(case.image.shape[:2]) for case in cases) // 8
    cutoff = max(CUTOFF, 2 / smallest_side)
    jumps, shifts, unrests = {}, {}, {}
    for name in INITIAL_NOISES:
        made = clips(animator, [Task(case.image, case.caption, case.bucket, seed, name, cutoff) for seed, case in enumerate(cases)])
        jumps[name] = np.array([largest_jump(clip) for clip in made])
        shifts[name] = np.array([colour_shift(clip[1:], clip[0]) for clip in made])
        unrests[name] = np.array([unrest(clip) for clip in made])
    claim = "DCTInit removes sudden changes"
    return [
        compare(claim, "largest frame-to-frame jump", jumps, INITIAL_NOISES, "best of three"),
        compare(claim, "colour shift against the input", shifts, INITIAL_NOISES, "best of three"),
        compare("smoothness", "mean squared second difference", unrests, ("dctinit", "none"), "better than plain"),
    ]


def compare(claim: str, measure: str, values: dict[str, np.ndarray], names: Sequence[str], bar: str) -> Row:
    """Passed where the mean of the first is below every other's; the paired counts are reported."""
    first, *others = (values[name] for name in names)
    means = ", ".join(f"{name} {values[name].mean():.4f}" for name in names)
    wins = ", ".join(f"{int((first < other).sum())} of {len(first)} below {name}" for name, other in zip(names[1:], others, strict=True))
    passed = all(first.mean() < other.mean() for other in others)
    return Row(claim, measure, f"{means}; {wins}", bar, bool(passed), {name: values[name].tolist() for name in names})
