"""The transformer block of both UNets, whose self-attention may also see the tokens of a reference picture (paper sec. 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..sd_unet.attention import Attention, FeedForward, SpatialBlock
from ..sd_unet.step import Step

Bank = Mapping[tuple[str, int], Tensor]
"""What ReferenceNet keeps of a picture: block -> tokens [b, l, d], the input of its self-attention."""


@dataclass(frozen=True)
class Guides:
    """What a clip follows. bank: of the reference picture; a block that it lacks sees nothing but its own frame. pose: features
    [b * f, c, h, w] of the poses, None for none."""

    bank: Bank = field(default_factory=dict)
    pose: Tensor | None = None


class TransformerBlock(SpatialBlock):
    """Self-attention, attention to the picture's CLIP embedding, feed-forward; each on a LayerNorm, each added to its input."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(dim, context_dim, heads, attention=attention, **factory)
        self.norm3 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, **factory)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """x: [b * f, h * w, d]; step.extras: `Guides`."""
        x = self.attend_to_self(x, step)
        x = self.attend_to_context(x, step)
        return x + self.ff(self.norm3(x))

    def add_keys(self, q: Tensor, k: Tensor, v: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """After the frame's own. The bank is projected once for a clip, by this network's layers, and is the same for its frames.

        Where a patch cut a frame's queries into tiles, as HyperTile does, ComfyUI's attention takes as many parts of its keys: the bank
        is added to each.
        """
        bank = step.extras.bank.get(step.options["block"])
        if bank is None:
            return k, v
        k, v = (own.reshape(q.shape[0], -1, own.shape[-1]) for own in (k, v))
        rows = q.shape[0] // bank.shape[0]
        banked = (project(bank).repeat_interleave(rows, dim=0) for project in (self.attn1.to_k, self.attn1.to_v))
        return tuple(torch.cat([own, other], dim=1) for own, other in zip((k, v), banked, strict=True))  # type: ignore[return-value]
