"""Pictures of poses as IMAGE: aligned, moved and drawn, with ComfyUI's progress bar and its cancel button."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import torch

from ..pose.align import align
from ..pose.draw import draw_figure
from ..pose.figure import Figure, fitted
from ..pose.keypoints import read_figures, write_figures
from ..pose.motions import MOTIONS
from ..pose.pictures import place, plan
from ..pose.report import describe_alignment, describe_frames
from ..pose.skeleton import photograph, pose

Keypoints = list[dict[str, Any]]


@dataclass(frozen=True)
class Page:
    """What poses are drawn on. fit: how the picture that they belong to meets this size."""

    width: int
    height: int
    fit: str
    hands: bool = True
    face: bool = True


def align_keypoints(keypoints: Sequence, reference: Sequence | None, page: Page, limbs: bool) -> tuple[torch.Tensor, Keypoints, str]:
    """Drawn poses [f, h, w, 3], their POSE_KEYPOINT and a report. Without a reference the figures are drawn as they are.

    Raises InputError as `read_figures` and `align` do.
    """
    clip = read_figures(keypoints)
    if reference is None:
        figures, report = clip.figures, describe_frames(len(clip.figures), clip.carried)
    else:
        alignment = align(clip.figures, read_figures(reference).figures[0], limbs)
        figures, report = alignment.figures, describe_alignment(alignment, clip.carried)
    return *draw(figures, page), report


def align_pictures(images: torch.Tensor, reference: torch.Tensor, page: Page) -> tuple[torch.Tensor, str]:
    """Pictures of poses [f, h, w, 3] where the pose of the reference is, and a report. Raises InputError as `plan` does."""
    placing = plan(images, reference, page.width, page.height, page.fit)
    frames = len(placing.sources)
    placed = collect(place(images, placing, page.width, page.height), frames, page)
    return placed, f"{describe_frames(frames, placing.carried)}\nThe figure is {placing.size:.2f} times as large as in the clip."


def draw_motion(
    motion: str, frames: int, cycles: int, view: float, reference: Sequence | None, page: Page
) -> tuple[torch.Tensor, Keypoints]:
    """A drawn person who moves, [f, h, w, 3], and their POSE_KEYPOINT; in the reference's proportions and place, if one is given."""
    target = None if reference is None else read_figures(reference).figures[0]
    width, height = (page.width, page.height) if target is None else (target.width, target.height)
    times = (frame * cycles / frames % 1.0 for frame in range(frames))
    figures: Sequence[Figure] = [photograph(pose(MOTIONS[motion](time), view), width, height) for time in times]
    if target is not None:
        figures = align(figures, target).figures
    return draw(figures, page)


def draw(figures: Sequence[Figure], page: Page) -> tuple[torch.Tensor, Keypoints]:
    figures = [fitted(figure, page.width, page.height, page.fit) for figure in figures]
    pictures = (draw_figure(figure, hands=page.hands, face=page.face) for figure in figures)
    return collect(pictures, len(figures), page), write_figures(figures)


def collect(pictures: Iterable[np.ndarray], frames: int, page: Page) -> torch.Tensor:
    """uint8 pictures, made one by one, as one IMAGE in 0..1."""
    images = torch.empty(frames, page.height, page.width, 3, device=comfy.model_management.intermediate_device())
    bar = comfy.utils.ProgressBar(frames)
    for frame, picture in enumerate(pictures):
        comfy.model_management.throw_exception_if_processing_interrupted()
        images[frame] = torch.from_numpy(picture.copy()) / 255
        bar.update_absolute(frame + 1)
    return images
