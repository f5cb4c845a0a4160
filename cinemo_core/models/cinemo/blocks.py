"""Convolutional blocks of the Cinemo UNet. Frames lie in the batch axis; maps are [b * f, c, h, w], channels last in memory.

Channels last, because then tokens, per-clip normalisation and convolutions all read the same memory without a copy.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention, TransformerBlock
from .config import NORM_GROUPS
from .embeddings import TemporalPositions


def normalise_clip(norm: nn.Module, x: Tensor, frames: int) -> Tensor:
    """A GroupNorm whose statistics span the frames of a clip: [b * f, c, h, w] -> the same."""
    x = norm(x.unflatten(0, (-1, frames)).transpose(1, 2))  # b c f h w
    return x.permute(0, 2, 3, 4, 1).contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """A 3x3 convolution of channels-last maps.

    Torch lays the weights out anew for channels-last maps. Where there are fewer places than channels that costs more than
    to lay out the maps as the weights are.
    """
    if x.shape[0] * x.shape[2] * x.shape[3] > x.shape[1]:
        return conv(x)
    return conv(x.contiguous()).contiguous(memory_format=torch.channels_last)


class ResBlock(nn.Module):
    """Two 3x3 convolutions per frame around the embedding of time and motion; the norms span the clip (eps 1e-5)."""

    def __init__(self, channels: int, out_channels: int, emb_dim: int, *, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.in_layers = nn.Sequential(
            operations.GroupNorm(NORM_GROUPS, channels, eps=1e-5, **factory),
            nn.SiLU(inplace=True),
            operations.Conv2d(channels, out_channels, 3, padding=1, **factory),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), operations.Linear(emb_dim, out_channels, **factory))
        self.out_layers = nn.Sequential(
            operations.GroupNorm(NORM_GROUPS, out_channels, eps=1e-5, **factory),
            nn.SiLU(inplace=True),
            nn.Identity(),
            operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory),
        )
        self.skip_connection = nn.Identity() if out_channels == channels else operations.Conv2d(channels, out_channels, 1, **factory)

    def forward(self, x: Tensor, emb: Tensor, frames: int) -> Tensor:
        """x: [b * f, c, h, w]; emb: [b, e], one row per clip."""
        h = convolve(self.in_layers[2], self.in_layers[1](normalise_clip(self.in_layers[0], x, frames)))
        h += self.emb_layers(emb).repeat_interleave(frames, dim=0)[:, :, None, None]
        h = convolve(self.out_layers[3], self.out_layers[1](normalise_clip(self.out_layers[0], h, frames)))
        h += self.skip_connection(x)
        return h


class SpatioTemporalTransformer(nn.Module):
    """Transformer blocks over the tokens of each frame and, inside them, over time; the norm is per frame (eps 1e-6)."""

    def __init__(self, channels: int, context_dim: int, heads: int, depth: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.norm = operations.GroupNorm(NORM_GROUPS, channels, eps=1e-6, **factory)
        self.proj_in = operations.Conv2d(channels, channels, 1, **factory)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, context_dim, heads, attention=attention, operations=operations, **factory) for _ in range(depth)
        )
        self.proj_out = operations.Conv2d(channels, channels, 1, **factory)

    def forward(self, x: Tensor, context: Tensor, positions: TemporalPositions, transformer_options: dict = {}) -> Tensor:
        transformer_options["activations_shape"] = list(x.shape)
        height = x.shape[2]
        h = self.proj_in(self.norm(x))
        h = h.permute(0, 2, 3, 1).flatten(1, 2)  # b*f c h w -> b*f h*w c
        for i, block in enumerate(self.transformer_blocks):
            transformer_options["block_index"] = i
            h = block(h, context, positions, transformer_options)
        h = h.unflatten(1, (height, -1)).permute(0, 3, 1, 2)  # b*f h*w c -> b*f c h w
        return x + self.proj_out(h)


class Downsample(nn.Module):
    def __init__(self, channels: int, *, dtype, device, operations) -> None:
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.op, x)


class Upsample(nn.Module):
    """Nearest-neighbour to the (height, width) of the next skip, so that odd sizes meet it, then a 3x3 convolution."""

    def __init__(self, channels: int, *, dtype, device, operations) -> None:
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor, size: list[int] | None) -> Tensor:
        return convolve(self.conv, F.interpolate(x, size=size, mode="nearest"))
