"""Attention of the Cinemo UNet: over space, over text, over time, and the transformer block that joins them.

`attention(q, k, v, heads, mask=None, transformer_options={})` is injected: q, k, v are [n, tokens, heads * d]. Spatial and
text attention honour ComfyUI's SD1.x patches; temporal attention, which no SD1.x patch knows, does not.
Axes: b clips, f frames, d channels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embeddings import NUM_BUCKETS, TemporalPositions

Attention = Callable[..., Tensor]
SLICE_TOKENS = 2560  # fewer are not worth a slice of their own


class GEGLU(nn.Module):
    def __init__(self, dim: int, inner_dim: int, *, dtype, device, operations) -> None:
        super().__init__()
        self.proj = operations.Linear(dim, inner_dim * 2, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)


class FeedForward(nn.Module):
    def __init__(self, dim: int, *, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}
        self.net = nn.Sequential(GEGLU(dim, dim * 4, **factory), nn.Identity(), operations.Linear(dim * 4, dim, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, tokens, d]. In up to four slices: the inner state is eight times as wide, and a small one stays in a CPU's cache."""
        rows = max(1, SLICE_TOKENS // x.shape[1], -(-x.shape[0] // 4))
        return torch.cat([self.net(part) for part in x.split(rows)])


class CrossAttention(nn.Module):
    """Attention from tokens to a context; self-attention where no context is given."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.to_q = operations.Linear(dim, dim, bias=False, dtype=dtype, device=device)
        self.to_k = operations.Linear(context_dim, dim, bias=False, dtype=dtype, device=device)
        self.to_v = operations.Linear(context_dim, dim, bias=False, dtype=dtype, device=device)
        self.to_out = nn.Sequential(operations.Linear(dim, dim, dtype=dtype, device=device))

    def forward(self, x: Tensor, context: Tensor | None = None, value: Tensor | None = None, transformer_options: dict = {}) -> Tensor:
        context = x if context is None else context
        value = context if value is None else value
        out = self.attention(self.to_q(x), self.to_k(context), self.to_v(value), self.heads, transformer_options=transformer_options)
        return self.to_out(out)


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


class TransformerBlock(nn.Module):
    """Self-attention, text attention, temporal attention, feed-forward; each on a LayerNorm, each added to its input."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}
        self.heads = heads
        self.head_dim = dim // heads
        self.norm1 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn1 = CrossAttention(dim, dim, heads, attention=attention, **factory)
        self.norm2 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn2 = CrossAttention(dim, context_dim, heads, attention=attention, **factory)
        self.norm_temp = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn_temp = TemporalAttention(dim, heads, attention=attention, **factory)
        self.norm3 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, **factory)

    def forward(self, x: Tensor, context: Tensor, positions: TemporalPositions, transformer_options: dict = {}) -> Tensor:
        """x: [b * f, h * w, d]; context: [b, l, c], or [b * f, l, c] for a text per frame."""
        patches = transformer_options.get("patches", {})
        replacements = transformer_options.get("patches_replace", {})
        options = {k: v for k, v in transformer_options.items() if k not in ("patches", "patches_replace")}
        options |= {"n_heads": self.heads, "dim_head": self.head_dim, "attn_precision": None}

        n, attended, value = self.norm1(x), None, None
        if "attn1_patch" in patches:
            attended = value = n
            for patch in patches["attn1_patch"]:
                n, attended, value = patch(n, attended, value, options)
        replace = _replacement(replacements.get("attn1", {}), options)
        if replace is not None:
            attended, value = (n, n) if attended is None else (attended, value)
            n = self.attn1.to_out(replace(self.attn1.to_q(n), self.attn1.to_k(attended), self.attn1.to_v(value), options))
        else:
            n = self.attn1(n, attended, value, transformer_options)
        for patch in patches.get("attn1_output_patch", ()):
            n = patch(n, options)
        x = x + n
        for patch in patches.get("middle_patch", ()):
            x = patch(x, options)

        n, attended, value = self.norm2(x), context, None
        replace = _replacement(replacements.get("attn2", {}), options)
        if "attn2_patch" in patches or replace is not None:  # patches see one row of text for each row of x
            attended = value = context.repeat_interleave(x.shape[0] // context.shape[0], dim=0)
        for patch in patches.get("attn2_patch", ()):
            n, attended, value = patch(n, attended, value, options)
        if replace is not None:
            n = self.attn2.to_out(replace(self.attn2.to_q(n), self.attn2.to_k(attended), self.attn2.to_v(value), options))
        else:  # a row of text may serve all frames of a clip: fold them into its queries
            n = self.attn2(n.reshape(attended.shape[0], -1, n.shape[-1]), attended, value, transformer_options).reshape(n.shape)
        for patch in patches.get("attn2_output_patch", ()):
            n = patch(n, options)
        x = x + n

        x = x + self.attn_temp(self.norm_temp(x), positions, transformer_options)
        return x + self.ff(self.norm3(x))


def swap(x: Tensor, rows: int) -> Tensor:
    """[(b rows), columns, d] -> [(b columns), rows, d], without a copy where there is one clip."""
    return x.unflatten(0, (-1, rows)).transpose(1, 2).flatten(0, 1)


def _replacement(by_block: dict, options: dict[str, Any]) -> Callable | None:
    """The replacement for this transformer block, addressed by block and index or by block alone."""
    block = options.get("block")
    if block is None:
        return None
    return by_block.get((*block, options.get("block_index", 0)), by_block.get(block))
