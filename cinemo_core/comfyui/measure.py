"""Measuring the motion of a clip, with ComfyUI's progress bar and its cancel button."""

from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch

from ..models.families import FAMILIES
from ..motion.buckets import score_clip
from ..motion.match import SVD, match_text


def measure_motion(
    images: torch.Tensor, width: int, height: int, frame_stride: int, resize: str, made: torch.Tensor | None = None
) -> tuple[int, float, torch.Tensor, str]:
    """Motion bucket, mean SSIM, their chart [1, h, w, 3] and the advice of `match_text` for a clip [f, h, w, 3 or 4].

    made: a clip to compare with it, neighbour by neighbour at the same size. See `score_clip`.
    """
    from ..motion.charts import score_chart, to_image  # not at module level: drawing is not part of the pack's start

    score = score_clip(images, width, height, resize, frame_stride, _progress())
    compared = None if made is None else score_clip(made, width, height, resize, 1, _progress())
    others = [SVD, *(family.motion for family in FAMILIES if family.motion)]
    return score.bucket, score.ssim, to_image(score_chart(score)), match_text(score, compared, others)


def report_motion(images: torch.Tensor, first_image: torch.Tensor | None, resize: str) -> tuple[torch.Tensor, str]:
    """Charts [1, h, w, 3] and JSON text about a clip [f, h, w, 3 or 4] and its first image; see `report_clip`."""
    from ..motion.charts import report_chart, to_image
    from ..motion.report import report_clip

    report = report_clip(images, first_image, resize, _progress())
    return to_image(report_chart(report)), report.to_json()


def _progress() -> Callable[[int, int], None]:
    bar = comfy.utils.ProgressBar(1)  # the true total comes with the first step

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return progress
