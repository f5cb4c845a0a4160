"""Numbers on how a clip moves and how well it keeps to its image, frame by frame, in pixels.

Cinemo denoises motion residuals, frame minus first frame (paper sec. 3.1); what can go wrong shows in them: a clip that
stands still has none, one that falls apart ends far from its image, one that fades drifts in colour.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from ..resize import resize_image
from ..shapes import check_image
from .buckets import MotionScore
from .ssim import check_frames, check_measurable, local_moments, similarity

DECIMALS = 6
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class MotionReport:
    """What was measured, one number per frame except for the score.

    score: SSIM of each frame with the one before. distance: 1 - SSIM with the first image, 0 where they are equal.
    residual_energy: mean square of frame minus first image, values in 0..1. colour_drift: mean red, green and blue of
    the frame minus those of the first image.
    """

    score: MotionScore
    distance: tuple[float, ...]
    residual_energy: tuple[float, ...]
    colour_drift: tuple[tuple[float, float, float], ...]

    def to_json(self) -> str:
        """The numbers as JSON text, a line per name, rounded to six decimals."""
        drift = zip(*self.colour_drift, strict=True)
        numbers = {
            "frames": len(self.distance),
            "width": self.score.width,
            "height": self.score.height,
            "mean_ssim": round(self.score.ssim, DECIMALS),
            "motion_id": self.score.motion_id,
            "motion_bucket": self.score.bucket,
            "ssim_of_pairs": _rounded(self.score.pairs),
            "distance_to_first": _rounded(self.distance),
            "residual_energy": _rounded(self.residual_energy),
            "colour_drift": {name: _rounded(values) for name, values in zip(CHANNELS, drift, strict=True)},
        }
        return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in numbers.items()) + "\n}"


def report_clip(images: torch.Tensor, first_image: torch.Tensor | None, resize: str, progress: Callable[[int, int], None]) -> MotionReport:
    """Measure a clip [f, h, w, 3 or 4] in 0..1 at its own size, against an image or, without one, against its frame 0.

    first_image: [b, h, w, 3 or 4] in 0..1, of which the first counts; brought to the clip's size by a mode of
    `resize_image`. Memory does not grow with the clip; `progress` is called with (frames done, all
    frames) and may raise to stop. Raises InputError for clips and images that cannot be measured, before the first frame.
    """
    check_frames(images)
    height, width = images.shape[1:3]
    check_measurable(width, height)
    if first_image is not None:
        check_image(first_image[:1] if first_image.ndim == 4 else first_image)
    first = local_moments(_rgb(images[0]) if first_image is None else resize_image(first_image[:1], width, height, resize)[0])
    first_colour = first.image.mean((0, 1))
    before = None
    pairs: list[float] = []
    distance: list[float] = []
    energy: list[float] = []
    drift: list[tuple[float, float, float]] = []
    for frame in images:
        moments = local_moments(_rgb(frame))
        if before is not None:
            pairs.append(similarity(before, moments))
        distance.append(1.0 - similarity(first, moments))
        residual = moments.image - first.image
        energy.append(float((residual * residual).mean()))
        red, green, blue = (moments.image.mean((0, 1)) - first_colour).tolist()
        drift.append((red, green, blue))
        before = moments
        progress(len(drift), len(images))
    return MotionReport(MotionScore(tuple(pairs), 1, width, height), tuple(distance), tuple(energy), tuple(drift))


def _rgb(frame: torch.Tensor) -> torch.Tensor:
    return frame[..., :3].clamp(0.0, 1.0)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, DECIMALS) + 0.0 for value in values]  # + 0.0 makes a rounded -0.0 a plain 0.0
