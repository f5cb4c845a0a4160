"""The query transformer that turns image tokens into tokens like those of text, some for each frame (paper sec. 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ...files.checkpoint import shapes_of, size_of
from ..sd_unet.attention import Attention
from ..sd_unet.config import count
from ..sd_unet.learned import Learned

HEAD_DIM = 64
FRAMES = 16  # whose tokens it gives


@dataclass(frozen=True)
class ResamplerConfig:
    """Sizes: of an image token, a latent, the heads and feed-forward inside, an output token; number of latents and layers."""

    image_dim: int
    dim: int
    inner: int
    hidden: int
    output_dim: int
    queries: int
    depth: int
    head_dim: int = HEAD_DIM

    def __post_init__(self) -> None:
        if not self.inner or self.inner % self.head_dim:
            raise CheckpointError(
                f"The image projector is {self.inner} channels wide inside, expected a multiple of {self.head_dim}: "
                "the file is of another model."
            )

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any], head_dim: int = HEAD_DIM) -> "ResamplerConfig":
        """Raises CheckpointError where a tensor that a size is read from is missing or has another rank."""
        what, shapes = "The image projector", shapes_of(state_dict)
        _, queries, dim = size_of(shapes, "latents.weight", 3, what)
        return cls(
            image_dim=size_of(shapes, "proj_in.weight", 2, what)[1],
            dim=dim,
            inner=size_of(shapes, "layers.0.0.to_q.weight", 2, what)[0],
            hidden=size_of(shapes, "layers.0.1.1.weight", 2, what)[0],
            output_dim=size_of(shapes, "proj_out.weight", 2, what)[0],
            queries=queries,
            depth=count(shapes, r"layers\.(\d+)\."),
            head_dim=head_dim,
        )


class PerceiverAttention(nn.Module):
    """Attention from latents to image tokens and latents together."""

    def __init__(self, config: ResamplerConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.heads = config.inner // config.head_dim
        self.attention = attention
        self.norm1 = operations.LayerNorm(config.dim, **factory)
        self.norm2 = operations.LayerNorm(config.dim, **factory)
        self.to_q = operations.Linear(config.dim, config.inner, bias=False, **factory)
        self.to_kv = operations.Linear(config.dim, 2 * config.inner, bias=False, **factory)
        self.to_out = operations.Linear(config.inner, config.dim, bias=False, **factory)

    def forward(self, image: Tensor, latents: Tensor) -> Tensor:
        image, latents = self.norm1(image), self.norm2(latents)
        k, v = self.to_kv(torch.cat([image, latents], dim=1)).chunk(2, dim=-1)
        return self.to_out(self.attention(self.to_q(latents), k, v, self.heads))


class FeedForward(nn.Sequential):
    def __init__(self, config: ResamplerConfig, *, dtype, device, operations) -> None:
        factory = {"dtype": dtype, "device": device}
        super().__init__(
            operations.LayerNorm(config.dim, **factory),
            operations.Linear(config.dim, config.hidden, bias=False, **factory),
            nn.GELU(),
            operations.Linear(config.hidden, config.dim, bias=False, **factory),
        )


class ResamplerLayer(nn.ModuleList):
    """Attention, then feed-forward, each added to its input."""

    def forward(self, image: Tensor, latents: Tensor) -> Tensor:
        latents = latents + self[0](image, latents)
        return latents + self[1](latents)


class Resampler(nn.Module):
    def __init__(self, config: ResamplerConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.config = config
        factory = {"dtype": dtype, "device": device}
        self.latents = Learned(1, config.queries, config.dim, **factory)
        self.proj_in = operations.Linear(config.image_dim, config.dim, **factory)
        self.layers = nn.ModuleList(
            ResamplerLayer(
                [
                    PerceiverAttention(config, attention=attention, operations=operations, **factory),
                    FeedForward(config, operations=operations, **factory),
                ]
            )
            for _ in range(config.depth)
        )
        self.proj_out = operations.Linear(config.dim, config.output_dim, **factory)
        self.norm_out = operations.LayerNorm(config.output_dim, **factory)

    def forward(self, image: Tensor) -> Tensor:
        """Tokens of the image tower [b, l, image_dim] -> [b, queries, output_dim], those of frame 0 first."""
        image = self.proj_in(image)
        latents = self.latents(image).expand(image.shape[0], -1, -1)
        for layer in self.layers:
            latents = layer(image, latents)
        return self.norm_out(self.proj_out(latents))
