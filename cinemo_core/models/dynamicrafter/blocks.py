"""ResBlocks followed by convolutions over time, and spatial transformers followed by one over time."""

from collections.abc import Callable

from torch import Tensor, nn

from ..sd_unet.blocks import ResBlock, SpatialTransformer
from ..sd_unet.config import NORM_GROUPS
from ..sd_unet.step import Step
from .attention import TemporalTransformer


class TemporalConv(nn.Module):
    """Four convolutions over three frames each, the input added; the norms span the clip (eps 1e-5)."""

    def __init__(self, channels: int, *, dtype, device, operations) -> None:
        super().__init__()

        def layer(*dropout: nn.Module) -> nn.Sequential:  # the dropout of training, which keeps its place in the names
            return nn.Sequential(
                operations.GroupNorm(NORM_GROUPS, channels, eps=1e-5, dtype=dtype, device=device),
                nn.SiLU(inplace=True),
                *dropout,
                operations.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), dtype=dtype, device=device),
            )

        self.conv1 = layer()
        self.conv2 = layer(nn.Identity())
        self.conv3 = layer(nn.Identity())
        self.conv4 = layer(nn.Identity())

    def forward(self, x: Tensor, step: Step) -> Tensor:
        h = x.unflatten(0, (-1, step.frames)).transpose(1, 2)  # b*f c h w -> b c f h w
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            h = layer(h)
        return x + h.transpose(1, 2).flatten(0, 1)


class TemporalResBlock(ResBlock):
    """A ResBlock per frame, then convolutions over time."""

    def __init__(self, channels: int, out_channels: int, emb_dim: int, *, dtype, device, operations) -> None:
        super().__init__(channels, out_channels, emb_dim, dtype=dtype, device=device, operations=operations)
        self.temopral_conv = TemporalConv(out_channels, dtype=dtype, device=device, operations=operations)  # so spelt in the checkpoints

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return self.temopral_conv(super().forward(x, step), step)


class SpatioTemporalTransformer(SpatialTransformer):
    """A transformer over the places of each frame, then one over time."""

    def __init__(
        self, channels: int, depth: int, block: Callable[[], nn.Module], temporal: TemporalTransformer, *, dtype, device, operations
    ) -> None:
        super().__init__(channels, depth, block, linear=True, dtype=dtype, device=device, operations=operations)
        self.temporal = temporal

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return self.temporal(super().forward(x, step), step)
