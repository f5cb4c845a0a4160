"""Which charts show the motion of a clip: SSIM per pair over the bucket scale, and the four panels of a report."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from .buckets import BUCKETS, MotionScore, motion_id, ssim_range
from .plot import Band, Level, Line, Panel, draw
from .report import CHANNELS, MotionReport

if TYPE_CHECKING:
    from PIL import Image

SCORE_SIZE = (960, 540)
REPORT_SIZE = (1200, 860)
CALM, LIVELY = (38, 58, 92), (112, 62, 34)  # colours of the ends of the bucket scale
PLAIN = (255, 190, 60)
CHANNEL_COLOURS = ((255, 105, 97), (108, 208, 120), (110, 165, 255))


def score_chart(score: MotionScore) -> "Image.Image":
    """SSIM of each pair over the bucket scale, 960x540 RGB."""
    pairs = len(score.pairs)
    spacing = "consecutive frames" if score.frame_stride == 1 else f"frames {score.frame_stride} apart"
    compared = f"{pairs} pair of {spacing}" if pairs == 1 else f"{pairs} pairs of {spacing}"
    beyond = ", past the end of the scale" if score.motion_id < motion_id(BUCKETS - 1) else ""
    return draw(
        f"Motion bucket {score.bucket}   (0 least, {BUCKETS - 1} most)",
        f"mean SSIM {score.ssim:.4f}, motion id {score.motion_id}{beyond}: {compared}, measured at {score.width}x{score.height}",
        [_score_panel(score)],
        1,
        *SCORE_SIZE,
    )


def report_chart(report: MotionReport) -> "Image.Image":
    """Distance to the first image, SSIM per pair, residual energy and colour drift, 1200x860 RGB."""
    frames = range(len(report.distance))
    channels = zip(*report.colour_drift, strict=True)
    score = report.score
    panels = [
        Panel("Distance to the first image  (1 - SSIM)", "frame", frames, [Line(report.distance, PLAIN)], 0.0, 0.1),
        _score_panel(score),
        Panel("Residual energy  (mean square)", "frame", frames, [Line(report.residual_energy, PLAIN)], 0.0, 0.001),
        Panel(
            "Drift of the mean colour",
            "frame",
            frames,
            [Line(values, colour, name) for values, colour, name in zip(channels, CHANNEL_COLOURS, CHANNELS, strict=True)],
            -0.01,
            0.01,
        ),
    ]
    return draw(
        "Motion report",
        f"{len(frames)} frames of {score.width}x{score.height}: mean SSIM {score.ssim:.4f}, motion id {score.motion_id}, "
        f"bucket {score.bucket}",
        panels,
        2,
        *REPORT_SIZE,
    )


def to_image(picture: "Image.Image") -> torch.Tensor:
    """An RGB picture as an IMAGE, [1, h, w, 3] in 0..1."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def _score_panel(score: MotionScore) -> Panel:
    frames = [(index + 1) * score.frame_stride for index in range(len(score.pairs))]
    before = "before" if score.frame_stride == 1 else f"{score.frame_stride} before"
    bands = []
    for bucket in range(BUCKETS):
        share = bucket / (BUCKETS - 1)
        shade = 1.0 if bucket % 2 else 0.86
        red, green, blue = (round(shade * (calm + share * (lively - calm))) for calm, lively in zip(CALM, LIVELY, strict=True))
        bands.append(Band(*ssim_range(bucket), (red, green, blue), str(bucket)))
    return Panel(
        f"SSIM of each frame with the one {before}",
        "frame",
        frames,
        [Line(score.pairs, PLAIN)],
        ssim_range(BUCKETS - 1)[1] - 0.01,
        1.0,
        bands,
        "bucket",
        [Level(score.ssim, "mean")],
    )
