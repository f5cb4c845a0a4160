"""Temporal attention, and the transformer block that puts it between text and feed-forward.

Temporal attention, which no SD1.x patch knows, takes none.
"""

from torch import Tensor, nn

from ..sd_unet.attention import Attention, FeedForward, SpatialBlock, swap
from ..sd_unet.step import Step
from .positions import NUM_BUCKETS, TemporalPositions


class RelativePositionBias(nn.Module):
    """A learned bias per head and bucket of frame distance (T5, arXiv 1910.10683)."""

    def __init__(self, heads: int, *, dtype, device, operations) -> None:
        super().__init__()
        self.relative_attention_bias = operations.Embedding(NUM_BUCKETS, heads, dtype=dtype, device=device)

    def forward(self, buckets: Tensor) -> Tensor:
        return self.relative_attention_bias(buckets).movedim(-1, 0)  # heads f f


class TemporalAttention(nn.Module):
    """Bidirectional attention over the frames at one place, with rotary positions and a relative-position bias (LaVie)."""

    def __init__(self, dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.to_q = operations.Linear(dim, dim, bias=False, dtype=dtype, device=device)
        self.to_k = operations.Linear(dim, dim, bias=False, dtype=dtype, device=device)
        self.to_v = operations.Linear(dim, dim, bias=False, dtype=dtype, device=device)
        self.to_out = nn.Sequential(operations.Linear(dim, dim, dtype=dtype, device=device))
        self.time_rel_pos_bias = RelativePositionBias(heads, dtype=dtype, device=device, operations=operations)

    def forward(self, x: Tensor, positions: TemporalPositions, transformer_options: dict = {}) -> Tensor:
        """x: [b * f, n, d], n the places of a frame. Returns the same shape."""
        frames = len(positions.buckets)
        bias = self.time_rel_pos_bias(positions.buckets).to(x.dtype)[None]
        out = self.attention(
            swap(self.rotate(self.to_q(x), positions), frames),  # (b f) n d -> (b n) f d
            swap(self.rotate(self.to_k(x), positions), frames),
            swap(self.to_v(x), frames),
            self.heads,
            mask=bias,
            transformer_options=transformer_options,
        )
        return self.to_out(swap(out, x.shape[1]))  # (b n) f d -> (b f) n d

    def rotate(self, x: Tensor, positions: TemporalPositions) -> Tensor:
        """Turn each head by the angle of its frame: [b * f, n, d] -> the same."""
        heads = x.reshape(-1, len(positions.buckets), x.shape[1] * self.heads, x.shape[2] // self.heads)
        return (heads @ positions.rotations[heads.shape[-1]]).view(x.shape)


class TransformerBlock(SpatialBlock):
    """Self-attention, text attention, temporal attention, feed-forward; each on a LayerNorm, each added to its input."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(dim, context_dim, heads, attention=attention, **factory)
        self.norm_temp = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn_temp = TemporalAttention(dim, heads, attention=attention, **factory)
        self.norm3 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, **factory)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """x: [b * f, h * w, d]; step.extras are the frames' positions."""
        x = self.attend_to_self(x, step)
        x = self.attend_to_context(x, step)
        x = x + self.attn_temp(self.norm_temp(x), step.extras, step.options)
        return x + self.ff(self.norm3(x))
