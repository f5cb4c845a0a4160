"""Where the flow can be trusted to carry detail that the clip itself does not show.

The finest detail that the clip does show is the judge. Where that of frame 0, warped, equals that of the frame, still finer detail
will fit too; where it does not, nothing finer can. Where the frame has less of it, as in motion blur, it has still less of what is
finer. The colours, the way there and back, and the border of the frame are considered as well.
"""

from dataclasses import dataclass

import torch

from .planes import gaussian, inside, warp
from .track import Match

FINEST = 1.0  # pixels of the clip: what a Gaussian of this width removes is the finest detail
FLAT = 2e-5  # energy of detail below which there is nothing to compare
BIAS, UNLIKE, AWAY, COLOUR = -3.98, -1.15, -0.77, 0.1
LEAST_UNLIKE, LEAST_AWAY = 0.01, 0.05  # below, a smaller value says no more
BLUR_WIDTH = 4.0  # pixels of the clip, over which the sharpness of a place is taken
OCTAVE = 4.0  # a Gaussian blur that leaves a share s of a frequency leaves s^4 of twice that frequency


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against a match, maps [1, 1, h, w].

    unlike: energy of the difference of the finest details, as a share of both their energies, 0 (equal) to 2 (opposite);
    sharpness: the share of frame 0's finest detail that the frame has, 0..1; away: distance in pixels of the clip between a place
    and where the way there and back ends; colour: mean absolute difference of the colours, 0..1; inside: 1 where the flow points
    into the frame, else 0.
    """

    unlike: torch.Tensor
    sharpness: torch.Tensor
    away: torch.Tensor
    colour: torch.Tensor
    inside: torch.Tensor


def weigh(evidence: Evidence) -> torch.Tensor:
    """Trust 0..1, [1, 1, h, w]: the share of the warped detail that is expected to be true.

    A logistic function of the logarithms, less where the frame is blurred, and a gate where colours differ. The constants of the
    logarithms gave the least squared error on real clips that the evaluation does not use; the bias is 0.3 below that optimum,
    which costs 0.02 dB and halves the worst loss. The sharpness costs as much; it is against losses in motion blur (0.5 dB in one clip).
    """
    score = BIAS + UNLIKE * torch.log(evidence.unlike + LEAST_UNLIKE) + AWAY * torch.log(evidence.away + LEAST_AWAY)
    gate = torch.exp(-((evidence.colour / COLOUR) ** 2))
    return torch.sigmoid(score) * evidence.sharpness**OCTAVE * gate * evidence.inside


def gather(first: torch.Tensor, frame: torch.Tensor, match: Match, scale: float) -> Evidence:
    """Evidence about a match of a frame with frame 0, both [1, 3, h, w], enlarged `scale` times from the clip's own size."""
    width = FINEST * scale
    warped = warp(first, match.to_first)
    warped_detail, detail = (planes - gaussian(planes, width) for planes in (warped, frame))
    difference = gaussian((warped_detail - detail).square().sum(dim=1, keepdim=True), width)
    energy = gaussian((warped_detail.square() + detail.square()).sum(dim=1, keepdim=True), width)
    shared = gaussian((warped_detail * detail).sum(dim=1, keepdim=True), BLUR_WIDTH * scale)
    sharp = gaussian(warped_detail.square().sum(dim=1, keepdim=True), BLUR_WIDTH * scale)
    ends = match.to_first + warp(match.from_first, match.to_first, "bilinear")
    return Evidence(
        unlike=difference / (energy + FLAT),
        sharpness=((shared + FLAT) / (sharp + FLAT)).clamp(0, 1),
        away=ends.square().sum(dim=1, keepdim=True).sqrt() / scale,
        colour=gaussian((warped - frame).abs().mean(dim=1, keepdim=True), width),
        inside=inside(match.to_first),
    )
