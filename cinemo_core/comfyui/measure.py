"""Measuring the motion of a clip, with ComfyUI's progress bar and its cancel button."""

from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch

from ..motion.buckets import score_clip


def measure_motion(images: torch.Tensor, width: int, height: int, frame_stride: int, resize: str) -> tuple[int, float, torch.Tensor]:
    """Motion bucket, mean SSIM and their chart [1, h, w, 3] of a clip [f, h, w, 3 or 4]; see `score_clip`."""
    from ..motion.charts import score_chart, to_image  # not at module level: drawing is not part of the pack's start

    score = score_clip(images, width, height, resize, frame_stride, _progress())
    return score.bucket, score.ssim, to_image(score_chart(score))


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
