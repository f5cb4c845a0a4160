"""What the comparison must know of a family's recorded cases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cinemo_core.models.family import Family

Case = Mapping[str, torch.Tensor]  # its tensors by their names after "c0."


def all_belong(weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> set[str]:
    """For a family whose cases were all recorded with the same weights."""
    return set()


def all_seen(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """For a family whose shapes say everything."""
    return {}


@dataclass(frozen=True)
class Reader:
    """How the recorded cases of a family are evaluated.

    network: its class on ComfyUI's operations. needed: tensors that every case has, the first of which only cases have.
    sizes: what a configuration read from weights is in the words of the recorded one. evaluate: the network's output for a
    case, shaped like its `output`, from its tensors and the facts of the JSON file. unseen: fields of the configuration that no shape says,
    from the recorded one. recorded_otherwise: names of cases that were recorded with other weights, from the tensors of
    the file and the facts next to the cases.
    """

    family: Family
    network: type[torch.nn.Module]
    needed: tuple[str, ...]
    sizes: Callable[[Any], dict[str, Any]]
    evaluate: Callable[[torch.nn.Module, Case, Mapping[str, Any]], torch.Tensor]
    recorded_otherwise: Callable[[Mapping[str, torch.Tensor], Mapping[str, Any]], set[str]] = all_belong
    unseen: Callable[[Mapping[str, Any]], dict[str, Any]] = all_seen


def fold(video: torch.Tensor) -> torch.Tensor:
    return video.transpose(1, 2).flatten(0, 1)  # b c f h w -> b*f c h w


def unfold(frames: torch.Tensor, clips: int) -> torch.Tensor:
    return frames.unflatten(0, (clips, -1)).transpose(1, 2)  # b*f c h w -> b c f h w
