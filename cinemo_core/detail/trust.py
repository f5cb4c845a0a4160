"""Where the flow can be trusted to carry detail that the clip itself does not show.

The finest detail that the clip does show is the judge. Where that of frame 0, warped, equals that of the frame, still finer detail
will fit too; where it does not, nothing finer can. The colours, the way there and back, and the border of the frame have a say too.
"""

from dataclasses import dataclass

import torch

from .planes import gaussian, inside, warp
from .track import Match

FINEST = 1.0  # pixels of the clip: what a Gaussian of this width removes is the finest detail
AROUND = 4.0  # pixels of the clip: of the Gaussian over which sharpness is compared
FLAT = 2e-5  # energy of detail below which there is nothing to compare
BIAS, UNLIKE, AWAY, COLOUR = -3.83, -1.15, -0.77, 0.1
LEAST_UNLIKE, LEAST_AWAY = 0.01, 0.05  # below, a smaller value says no more


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against a match, maps [1, 1, h, w].

    unlike: energy of the difference of the finest details, as a share of both their energies, 0 (equal) to 2 (opposite);
    kept: energy of the frame's finest detail as a share of that of frame 0 around the same place, at most 1: less where things blur;
    away: distance in pixels of the clip between a place and where the way there and back ends; colour: mean absolute difference
    of the colours, 0..1; inside: 1 where the flow points into the frame, else 0.
    """

    unlike: torch.Tensor
    kept: torch.Tensor
    away: torch.Tensor
    colour: torch.Tensor
    inside: torch.Tensor


def weigh(evidence: Evidence) -> torch.Tensor:
    """Trust 0..1, [1, 1, h, w]: the share of the warped detail that is expected to be true.

    A logistic function of the logarithms, a gate where colours differ, and less where the frame is blurred against frame 0. The
    constants gave the least squared error on real clips that the evaluation does not use, found without `kept`; the bias is 0.15
    below that optimum. Both give up a little of the mean gain for a smaller worst loss.
    """
    score = BIAS + UNLIKE * torch.log(evidence.unlike + LEAST_UNLIKE) + AWAY * torch.log(evidence.away + LEAST_AWAY)
    gate = torch.exp(-((evidence.colour / COLOUR) ** 2))
    return torch.sigmoid(score) * gate * evidence.kept.square() * evidence.inside


def gather(first: torch.Tensor, frame: torch.Tensor, match: Match, scale: float) -> Evidence:
    """Evidence about a match of a frame with frame 0, both [1, 3, h, w], enlarged `scale` times from the clip's own size."""
    width = FINEST * scale
    warped = warp(first, match.to_first)
    warped_detail, detail = (planes - gaussian(planes, width) for planes in (warped, frame))
    unlike = gaussian(energy(warped_detail - detail), width) / (gaussian(energy(warped_detail) + energy(detail), width) + FLAT)
    there, here = (gaussian(energy(planes), AROUND * scale) + FLAT for planes in (warped_detail, detail))
    ends = match.to_first + warp(match.from_first, match.to_first, "bilinear")
    return Evidence(
        unlike=unlike,
        kept=(here / there).clamp(max=1),
        away=ends.square().sum(dim=1, keepdim=True).sqrt() / scale,
        colour=gaussian((warped - frame).abs().mean(dim=1, keepdim=True), width),
        inside=inside(match.to_first),
    )


def energy(planes: torch.Tensor) -> torch.Tensor:
    """[n, c, h, w] -> [n, 1, h, w]: the sum of the squares over the channels."""
    return planes.square().sum(dim=1, keepdim=True)
