"""What ToonCrafter (arXiv 2405.17933, sec. 3.3) adds to a temporal decoder: details of the first and the last picture.

The stages of the VAE's encoder at both pictures join the decoder where it has their size: by attention on the two inner levels, and by
addition to the first and the last frame on the outer ones.
"""

import re

import torch
from torch import Tensor, nn

from ..sd_unet.attention import Attention
from ..temporal_vae.keys import LEVELS, NORM_GROUPS, VAEConfig, entries
from .variants import TOON

HEADS, HEAD_DIM = 8, 64
INNER = 2  # the first level, counted from the outermost, that attends; the others add
BLOCK = re.compile(r"^(decoder\..*)conv1\.weight$")


class Attend(nn.Module):
    """Each place of each frame attends to all places of both pictures; the input is added."""

    def __init__(self, channels: int, *, attention: Attention, operations) -> None:
        super().__init__()
        inner = HEADS * HEAD_DIM
        self.attention = attention
        self.norm = operations.GroupNorm(NORM_GROUPS, channels, eps=1e-6)
        self.to_q = operations.Linear(channels, inner, bias=False)
        self.to_k = operations.Linear(channels, inner, bias=False)
        self.to_v = operations.Linear(channels, inner, bias=False)
        self.to_out = nn.Sequential(operations.Linear(inner, channels))

    def forward(self, x: Tensor, pictures: Tensor) -> Tensor:
        """x: [f, c, h, w]; pictures: [2, c, h, w]."""
        places = self.norm(x).movedim(1, -1)  # f h w c
        q = self.to_q(places).flatten(0, 2)[None]  # 1 f*h*w d
        tokens = pictures.movedim(1, -1).flatten(0, 2)[None]  # 1 2*h*w c
        out = self.attention(q, self.to_k(tokens), self.to_v(tokens), HEADS)
        return x + self.to_out(out).reshape(places.shape).movedim(-1, 1)


class Add(nn.Module):
    """The pictures, through a 1x1 convolution, are added to the first and the last frame."""

    def __init__(self, channels: int, *, operations) -> None:
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, pictures: Tensor) -> Tensor:
        """x: [f, c, h, w]; pictures: [2, c, h, w]."""
        first, last = self.conv(pictures).split(1)
        return torch.cat([x[:1] + first, x[1:-1], x[-1:] + last])


def refinements(config: VAEConfig, *, attention: Attention, operations) -> nn.ModuleList:
    """One for each level, the outermost first, and one for the output."""
    levels: list[nn.Module] = [Add(width, operations=operations) for width in config.widths[:INNER]]
    levels += [Attend(width, attention=attention, operations=operations) for width in config.widths[INNER:]]
    return nn.ModuleList([*levels, Add(config.widths[0], operations=operations)])


def expected_shapes(config: VAEConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the VAE with these sizes; `config` is that of its image VAE."""
    image = {entry.ldm: entry.shape for entry in entries(config)}
    out = dict(image)
    for match in filter(None, map(BLOCK.match, image)):
        width = image[match[0]][0]
        out[f"{match[1]}mix_factor"] = (1,)
        for norm, conv in (("in_layers.0", "in_layers.2"), ("out_layers.0", "out_layers.3")):
            out |= _pair(f"{match[1]}time_stack.{norm}", (width,))
            out |= _pair(f"{match[1]}time_stack.{conv}", (width, width, 3, 1, 1))
    out |= _pair("decoder.conv_out.time_mix_conv", (3, 3, 3, 1, 1))
    inner = HEADS * HEAD_DIM
    for level in range(LEVELS + 1):
        width, name = config.widths[level % LEVELS], f"{TOON}{level}."
        if INNER <= level < LEVELS:
            out |= {f"{name}to_{part}.weight": (inner, width) for part in "qkv"}
            out |= _pair(f"{name}to_out.0", (width, inner)) | _pair(f"{name}norm", (width,))
        else:
            out |= _pair(f"{name}conv", (width, width, 1, 1))
    return out


def _pair(module: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{module}.weight": shape, f"{module}.bias": shape[:1]}
