"""A learned tensor that belongs to no layer."""

import torch
from torch import Tensor, nn


class Learned(nn.Module):
    """The tensor as the weight of a module of its own: ComfyUI moves and patches parameters of modules without submodules alone."""

    def __init__(self, *shape: int, dtype, device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape, dtype=dtype, device=device))

    def forward(self, like: Tensor) -> Tensor:
        """The tensor, in the format and on the device of another."""
        return self.weight.to(like)
