"""Attention over the places of a frame and over a context, and the feed-forward layer after them.

`attention(q, k, v, heads, mask=None, transformer_options={})` is injected: q, k, v are [n, tokens, heads * d].
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .patches import block_options, patch_attention, patch_maps, patches, replacement
from .step import Step

Attention = Callable[..., Tensor]
SLICE_TOKENS = 2560  # fewer are not worth a slice


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

    def project(self, x: Tensor, context: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        return self.to_q(x), self.to_k(context), self.to_v(value)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict) -> Tensor:
        return self.attention(q, k, v, self.heads, transformer_options=options)

    def attend_by_clip(self, q: Tensor, k: Tensor, v: Tensor, options: dict) -> Tensor:
        """q: [b * f, tokens, d]. A row of k and v may serve all frames of a clip, which are folded into its queries."""
        return self.attend(q.reshape(k.shape[0], -1, q.shape[-1]), k, v, options).reshape(q.shape)

    def forward(self, x: Tensor, context: Tensor | None = None, options: dict = {}) -> Tensor:
        context = x if context is None else context
        return self.to_out(self.attend(*self.project(x, context, context), options))


class SpatialBlock(nn.Module):
    """Self-attention and attention to a context within each frame, with the patches of ComfyUI's SD block.

    A family's transformer block adds what follows: time, feed-forward.
    """

    def __init__(self, dim: int, context_dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}
        self.heads = heads
        self.head_dim = dim // heads
        self.norm1 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn1 = CrossAttention(dim, dim, heads, attention=attention, **factory)
        self.norm2 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn2: Any = CrossAttention(dim, context_dim, heads, attention=attention, **factory)

    def attend_to_self(self, x: Tensor, step: Step) -> Tensor:
        """[b * f, h * w, d] -> the same, the input added."""
        options = step.options
        seen = block_options(options, self.heads, self.head_dim)
        n = self.norm1(x)
        n, context, value = patch_attention("attn1_patch", (n, n, n), options, seen)
        q, k, v = self.attn1.project(n, context, value)
        k, v = self.add_keys(q, k, v, step)
        replace = replacement("attn1", options)
        # A replacement may give values as they are, as perturbed-attention guidance does: those of added keys come after its own.
        out = replace(q, k, v, seen)[:, : q.shape[1]] if replace else self.attn1.attend(q, k, v, options)
        n = patch_maps("attn1_output_patch", self.attn1.to_out(out), options, seen)
        return patch_maps("middle_patch", x + n, options, seen)

    def add_keys(self, q: Tensor, k: Tensor, v: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Add the keys and values of other tokens that a family lets self-attention see."""
        return k, v

    def attend_to_context(self, x: Tensor, step: Step) -> Tensor:
        """[b * f, h * w, d] -> the same, the input added; a row of context may serve all frames of a clip."""
        options = step.options
        seen = block_options(options, self.heads, self.head_dim)
        n, context, value = self.norm2(x), step.context, step.context
        replace = replacement("attn2", options)
        if replace or patches(options, "attn2_patch"):  # patches see one row of context for each row of x
            context = value = context.repeat_interleave(x.shape[0] // context.shape[0], dim=0)
            n, context, value = patch_attention("attn2_patch", (n, context, value), options, seen)
        q, k, v = self.attn2.project(n, context, value)
        out = replace(q, k, v, seen) if replace else self.attn2.attend_by_clip(q, k, v, options)
        out = self.add_attended(out, q, step)
        return x + patch_maps("attn2_output_patch", self.attn2.to_out(out), options, seen)

    def add_attended(self, out: Tensor, q: Tensor, step: Step) -> Tensor:
        """Add what these queries find in other contexts that a family has."""
        return out


def swap(x: Tensor, rows: int) -> Tensor:
    """[(b rows), columns, d] -> [(b columns), rows, d], without a copy where there is one clip."""
    return x.unflatten(0, (-1, rows)).transpose(1, 2).flatten(0, 1)
