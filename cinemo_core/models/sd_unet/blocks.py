"""Convolutional blocks. Maps are [b * f, c, h, w], channels last in memory.

Channels last, because then tokens, per-clip normalisation and convolutions all read the same memory without a copy.
Every layer is called with the maps and the `Step`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import NORM_GROUPS
from .step import Step


def normalise_clip(norm: nn.Module, x: Tensor, frames: int) -> Tensor:
    """A GroupNorm whose statistics span the frames of a clip: [b * f, c, h, w] -> the same."""
    x = norm(x.unflatten(0, (-1, frames)).transpose(1, 2))  # b c f h w
    return x.permute(0, 2, 3, 4, 1).contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """A 3x3 convolution of channels-last maps.

    Torch reorders the weights for channels-last maps. Where there are fewer places than channels that costs more than
    reordering the maps.
    """
    if x.shape[0] * x.shape[2] * x.shape[3] > x.shape[1]:
        return conv(x)
    return conv(x.contiguous()).contiguous(memory_format=torch.channels_last)


class ResBlock(nn.Module):
    """Two 3x3 convolutions per frame around the embedding, the input added; the norms are per frame (eps 1e-5)."""

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

    def forward(self, x: Tensor, step: Step) -> Tensor:
        h = convolve(self.in_layers[2], self.in_layers[1](self.normalise(self.in_layers[0], x, step)))
        h += self.emb_layers(step.emb).repeat_interleave(step.frames, dim=0)[:, :, None, None]
        h = convolve(self.out_layers[3], self.out_layers[1](self.normalise(self.out_layers[0], h, step)))
        h += self.skip_connection(x)
        return h

    def normalise(self, norm: nn.Module, x: Tensor, step: Step) -> Tensor:
        return norm(x)


class SpatialTransformer(nn.Module):
    """Transformer blocks over the tokens of each frame, the input added; the norm is per frame (eps 1e-6).

    linear: project the tokens with linear layers, as SD2.x does, not with 1x1 convolutions of the maps.
    """

    def __init__(
        self, channels: int, depth: int, block: Callable[[], nn.Module], *, linear: bool = False, dtype, device, operations
    ) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        project = operations.Linear if linear else operations.Conv2d
        size = () if linear else (1,)
        self.linear = linear
        self.norm = operations.GroupNorm(NORM_GROUPS, channels, eps=1e-6, **factory)
        self.proj_in = project(channels, channels, *size, **factory)
        self.transformer_blocks = nn.ModuleList(block() for _ in range(depth))
        self.proj_out = project(channels, channels, *size, **factory)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        step.options["activations_shape"] = list(x.shape)
        h = to_tokens(self.norm(x)) if self.linear else self.norm(x)
        h = self.proj_in(h)
        h = h if self.linear else to_tokens(h)
        for i, block in enumerate(self.transformer_blocks):
            step.options["block_index"] = i
            h = block(h, step)
        step.options["transformer_index"] += 1
        h = self.proj_out(h) if self.linear else self.proj_out(to_maps(h, x.shape[2]))
        return x + (to_maps(h, x.shape[2]) if self.linear else h)


def to_tokens(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1, 2)  # n c h w -> n h*w c


def to_maps(x: Tensor, height: int) -> Tensor:
    return x.unflatten(1, (height, -1)).permute(0, 3, 1, 2)  # n h*w c -> n c h w


class Downsample(nn.Module):
    def __init__(self, channels: int, *, dtype, device, operations) -> None:
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return convolve(self.op, x)


class Upsample(nn.Module):
    """Nearest-neighbour to the (height, width) of the next skip, so that odd sizes meet it, then a 3x3 convolution."""

    def __init__(self, channels: int, *, dtype, device, operations) -> None:
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return convolve(self.conv, F.interpolate(x, size=step.size, mode="nearest"))
