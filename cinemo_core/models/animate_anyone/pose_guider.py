"""The Pose Guider (paper sec. 3.2), which turns pictures of poses into features that are added to the first maps.

ControlNet's embedding of its condition (arXiv 2302.05543), as the re-implementation has it in place of the paper's four convolutions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_CHANNELS = 3


class PoseGuider(nn.Module):
    """Convolutions of 3x3 at full, half, quarter and eighth size; `channels` are their widths, the outermost first."""

    def __init__(self, channels: Sequence[int], out_channels: int, *, dtype, device, operations) -> None:
        super().__init__()

        def conv(into: int, out: int, stride: int = 1) -> nn.Module:
            return operations.Conv2d(into, out, 3, padding=1, stride=stride, dtype=dtype, device=device)

        self.conv_in = conv(IMAGE_CHANNELS, channels[0])
        self.blocks = nn.ModuleList()
        for width, wider in pairwise(channels):
            self.blocks += [conv(width, width), conv(width, wider, stride=2)]
        self.conv_out = conv(channels[-1], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1 [n, 3, 8h, 8w] -> [n, out_channels, h, w]."""
        h = F.silu(self.conv_in(x))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)
