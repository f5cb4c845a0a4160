"""Ways through a family's model: from the inputs of a node to what it gives. Each family's example lists its own in WALKS."""

from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.sample
import torch

FRAMES, HEIGHT, WIDTH = 6, 8, 8
CFG = 3.0


class Setting(NamedTuple):
    """device: where nodes keep what they exchange, the CPU, or the GPU with --gpu-only. steps: of a sampling run."""

    device: torch.device
    steps: int


# From the patcher of the model to a latent.
Walk = Callable[[Any, Setting], torch.Tensor]


def noise() -> torch.Tensor:
    return torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def placed(conditioning: list, device: torch.device) -> list:
    """A conditioning with its texts on a device; what a family adds to it is placed by the family."""
    return [[text.to(device), options] for text, options in conditioning]


def stock_sampling(model, positive: list, negative: list, setting: Setting) -> torch.Tensor:
    """As KSampler does it."""
    latent = torch.zeros(FRAMES, 4, HEIGHT, WIDTH, device=setting.device)
    positive, negative = (placed(conditioning, setting.device) for conditioning in (positive, negative))
    return comfy.sample.sample(model, noise(), setting.steps, CFG, "euler", "normal", positive, negative, latent, seed=1)
