"""What a conditioning must carry for Animate Anyone: the poses of its clip, and what ReferenceNet keeps of the reference picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import node_helpers
import torch

from ...errors import ConditioningError
from ...shapes import PIXELS_PER_LATENT

FIGURE_KEY = "cinemo_animate_anyone"


@dataclass(frozen=True)
class FigureCondition:
    """One clip.

    poses: pictures of the poses, uint8 RGB [guiders, f, 3, 8h, 8w], one clip of them for each Pose Guider. bank: see
    `models.animate_anyone.attention.Bank`; empty for a prediction that sees its own frames alone.
    """

    poses: torch.Tensor
    bank: Mapping[tuple[str, int], torch.Tensor] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return self.poses.shape[1]


def attach_figure(figure: FigureCondition, *conditionings: list) -> list[list]:
    """The conditionings with every entry saying which clip it belongs to; an earlier one is replaced, the inputs stay as they are."""
    return [node_helpers.conditioning_set_values(conditioning, {FIGURE_KEY: figure}) for conditioning in conditionings]


def check_figure(figure: FigureCondition, latent_shape: torch.Size | list[int], guiders: int) -> None:
    """Raise ConditioningError unless a latent of this shape, for so many Pose Guiders, is what the conditioning was made for."""
    frames, _, height, width = latent_shape
    own_height, own_width = figure.poses.shape[-2:]
    if (figure.frames, own_height, own_width) != (frames, height * PIXELS_PER_LATENT, width * PIXELS_PER_LATENT):
        raise ConditioningError(
            f"The conditioning has {figure.frames} poses of {own_width}x{own_height}, the latent has {frames} frames of "
            f"{width * PIXELS_PER_LATENT}x{height * PIXELS_PER_LATENT}; use the latent of the same Cinemo Animate Anyone Conditioning, "
            "or set its size to the clip's."
        )
    if figure.poses.shape[0] != guiders:
        raise ConditioningError(
            f"The conditioning has {figure.poses.shape[0]} clip(s) of poses, the model reads {guiders}; make the conditioning with the "
            "model that it is for."
        )
