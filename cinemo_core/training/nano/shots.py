"""Shots of a clip: the parts between its hard cuts, and which of them are of use to learn motion from.

Template clips are adverts: some are real shots, others montages of many, text cards, or pictures that dissolve into each other.
Stated rules, on small versions of the frames (values 0..1):

- a hard cut: two frames differ by CUT in the mean and by CUT_RATIO times as much as the frames around, or they have little in common
  (UNLIKE) and still differ by UNLIKE_RATIO times as much: fast motion changes much too, but evenly;
- too short: fewer than SHORTEST frames are left between two cuts;
- a montage: the clip has MONTAGE cuts or more;
- a text card or a still: the frames of the shot differ by less than STILL from its first one, in the mean of its last half.
"""

from dataclasses import dataclass

import numpy as np

CUT, CUT_RATIO = 0.08, 3.5
UNLIKE, UNLIKE_RATIO = 0.25, 1.9  # correlation
SHORTEST = 16
MONTAGE = 6
STILL = 0.008
SMALL = 40  # pixels, about, of a side of the small versions


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `end` (left out) of a clip."""

    start: int
    end: int

    @property
    def frames(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Skipped:
    """What is not learnt from, and why: "short", "montage" or "still"."""

    shot: Shot
    reason: str


def small_frames(pixels: np.ndarray) -> np.ndarray:
    """Frames uint8 [f, h, w, 3] as means of blocks, float [f, h', w', 3] in 0..1."""
    block = max(1, min(pixels.shape[1:3]) // SMALL)
    height, width = (side // block * block for side in pixels.shape[1:3])
    cut = pixels[:, :height, :width].reshape(len(pixels), height // block, block, width // block, block, 3)
    return np.stack([frame.mean(axis=(1, 3), dtype=np.float32) for frame in cut]) / 255


def find_cuts(small: np.ndarray) -> list[int]:
    """Numbers of the frames that begin a new shot."""
    change = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3))
    cuts = []
    for i, value in enumerate(change):
        around = np.concatenate([change[max(0, i - 4) : i], change[i + 1 : i + 5]])
        usual = np.median(around) if len(around) else 0.0
        if value > CUT and (value > CUT_RATIO * usual or (value > UNLIKE_RATIO * usual and alikeness(small[i], small[i + 1]) < UNLIKE)):
            cuts.append(i + 1)
    return cuts


def alikeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two pictures."""
    first, second = first.ravel() - first.mean(), second.ravel() - second.mean()
    return float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-6))


def find_shots(small: np.ndarray) -> tuple[list[Shot], list[Skipped]]:
    """The shots of a clip that are of use, and those that are not."""
    cuts = find_cuts(small)
    shots = [Shot(start, end) for start, end in zip([0, *cuts], [*cuts, len(small)], strict=True)]
    if len(cuts) >= MONTAGE:
        return [], [Skipped(shot, "montage") for shot in shots]
    kept, skipped = [], []
    for shot in shots:
        if shot.frames < SHORTEST:
            skipped.append(Skipped(shot, "short"))
            continue
        part = small[shot.start : shot.end]
        moved = np.abs(part[len(part) // 2 :] - part[0]).mean()
        if moved < STILL:
            skipped.append(Skipped(shot, "still"))
        else:
            kept.append(shot)
    return kept, skipped
