"""The motion module of AnimateDiff v2 (arXiv 2307.04725): attention over the frames at each place, after every block."""

from torch import Tensor, nn

from ..sd_unet.attention import Attention, CrossAttention, FeedForward, swap
from ..sd_unet.blocks import ResBlock, SpatialTransformer, to_maps, to_tokens
from ..sd_unet.config import NORM_GROUPS
from ..sd_unet.learned import Learned
from ..sd_unet.step import Step

ATTENTIONS = 2  # one after the other in a block


class TemporalAttention(CrossAttention):
    """Self-attention over time; the positions are added to what queries, keys and values are made of."""

    def __init__(self, dim: int, heads: int, positions: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__(dim, dim, heads, attention=attention, dtype=dtype, device=device, operations=operations)
        self.position_embedding = Learned(1, positions, dim, dtype=dtype, device=device)

    def forward(self, x: Tensor, context: Tensor | None = None, options: dict = {}) -> Tensor:
        """x: [n, f, d]."""
        return super().forward(x + self.position_embedding(x)[:, : x.shape[1]], options=options)


class TemporalBlock(nn.Module):
    """Attention over time, twice, then feed-forward; each on a LayerNorm, each added to its input."""

    def __init__(self, dim: int, heads: int, positions: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(dim, heads, positions, attention=attention, **factory) for _ in range(ATTENTIONS)
        )
        self.norms = nn.ModuleList(operations.LayerNorm(dim, dtype=dtype, device=device) for _ in range(ATTENTIONS))
        self.ff_norm = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, **factory)

    def forward(self, x: Tensor, options: dict) -> Tensor:
        """x: [b * h * w, f, d]."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x), options=options)
        return x + self.ff(self.ff_norm(x))


class MotionModule(nn.Module):
    """A transformer over the frames at each place, the input added; the norm is per frame (eps 1e-6)."""

    def __init__(self, channels: int, heads: int, positions: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.norm = operations.GroupNorm(NORM_GROUPS, channels, eps=1e-6, **factory)
        self.proj_in = operations.Linear(channels, channels, **factory)
        block = TemporalBlock(channels, heads, positions, attention=attention, operations=operations, **factory)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = operations.Linear(channels, channels, **factory)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """x: [b * f, c, h, w]."""
        h = swap(self.proj_in(to_tokens(self.norm(x))), step.frames)  # b*f h*w c -> b*h*w f c
        for block in self.transformer_blocks:
            h = block(h, step.options)
        h = swap(h, x.shape[2] * x.shape[3])  # b*h*w f c -> b*f h*w c
        return x + to_maps(self.proj_out(h), x.shape[2])


class InTime(nn.Module):
    """To be mixed into a layer, before it: the motion module after that layer. It has no place of its own in a block's list, where
    it would move the places that ComfyUI's LoRA map knows."""

    def __init__(self, *sizes, motion: MotionModule, **factory) -> None:
        super().__init__(*sizes, **factory)
        self.motion = motion

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return self.motion(super().forward(x, step), step)


class ResBlockInTime(InTime, ResBlock):
    pass


class SpatialTransformerInTime(InTime, SpatialTransformer):
    pass
