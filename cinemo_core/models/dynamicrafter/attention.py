"""Attention to text and image (paper sec. 3.1, dual cross-attention), and transformers over the frames at one place."""

from torch import Tensor, nn

from ..sd_unet.attention import Attention, CrossAttention, FeedForward, SpatialBlock
from ..sd_unet.config import NORM_GROUPS
from ..sd_unet.learned import Learned
from ..sd_unet.step import Step


class DualCrossAttention(CrossAttention):
    """Attention to text; `attend_to_image` has keys and values of its own for image tokens, and a softmax of its own."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, gated: bool, attention: Attention, dtype, device, operations) -> None:
        super().__init__(dim, context_dim, heads, attention=attention, dtype=dtype, device=device, operations=operations)
        self.to_k_ip = operations.Linear(context_dim, dim, bias=False, dtype=dtype, device=device)
        self.to_v_ip = operations.Linear(context_dim, dim, bias=False, dtype=dtype, device=device)
        if gated:
            self.alpha = Learned(dtype=dtype, device=device)
        self.gated = gated

    def attend_to_image(self, q: Tensor, tokens: Tensor, options: dict) -> Tensor:
        """q: [b * f, h * w, d]; tokens: [b * f, l, c], or [b, l, c] for tokens that all frames see."""
        out = self.attend_by_clip(q, self.to_k_ip(tokens), self.to_v_ip(tokens), options)
        return out * (self.alpha(out).tanh() + 1) if self.gated else out


class TransformerBlock(SpatialBlock):
    """Self-attention, attention to text and image, feed-forward; each on a LayerNorm, each added to its input."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, gated: bool, attention: Attention, dtype, device, operations) -> None:
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(dim, context_dim, heads, attention=attention, **factory)
        self.attn2: DualCrossAttention = DualCrossAttention(dim, context_dim, heads, gated=gated, attention=attention, **factory)
        self.norm3 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, **factory)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """x: [b * f, h * w, d]; step.extras are the image tokens, None for text alone."""
        x = self.attend_to_self(x, step)
        x = self.attend_to_context(x, step)
        return x + self.ff(self.norm3(x))

    def add_attended(self, out: Tensor, q: Tensor, step: Step) -> Tensor:
        return out if step.extras is None else out + self.attn2.attend_to_image(q, step.extras, step.options)


class TemporalBlock(nn.Module):
    """Self-attention over time, twice, then feed-forward. Nothing in it knows the order of the frames."""

    def __init__(self, dim: int, heads: int, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}
        self.norm1 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn1 = CrossAttention(dim, dim, heads, attention=attention, **factory)
        self.norm2 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.attn2 = CrossAttention(dim, dim, heads, attention=attention, **factory)
        self.norm3 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, **factory)

    def forward(self, x: Tensor, options: dict) -> Tensor:
        """x: [b * h * w, f, d]."""
        x = x + self.attn1(self.norm1(x), options=options)
        x = x + self.attn2(self.norm2(x), options=options)
        return x + self.ff(self.norm3(x))


class TemporalTransformer(nn.Module):
    """Transformer blocks over the frames at each place, the input added; the norm spans the clip (eps 1e-6).

    first: the one after the first convolution, whose projections are 1x1 convolutions over time to another width.
    """

    def __init__(
        self, channels: int, inner: int, heads: int, depth: int, *, first: bool = False, attention: Attention, dtype, device, operations
    ) -> None:
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        project = operations.Conv1d if first else operations.Linear
        size = (1,) if first else ()
        self.first = first
        self.norm = operations.GroupNorm(NORM_GROUPS, channels, eps=1e-6, **factory)
        self.proj_in = project(channels, inner, *size, **factory)
        self.transformer_blocks = nn.ModuleList(
            TemporalBlock(inner, heads, attention=attention, operations=operations, **factory) for _ in range(depth)
        )
        self.proj_out = project(inner, channels, *size, **factory)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        clips = x.unflatten(0, (-1, step.frames)).transpose(1, 2)  # b*f c h w -> b c f h w
        h = self.norm(clips).permute(0, 3, 4, 2, 1)  # b h w f c
        places = h.shape[:3]
        h = self.project(self.proj_in, h.flatten(0, 2))  # b*h*w f c
        for block in self.transformer_blocks:
            h = block(h, step.options)
        h = self.project(self.proj_out, h).unflatten(0, places)  # b h w f c
        return x + h.permute(0, 3, 4, 1, 2).flatten(0, 1)  # b*f c h w

    def project(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x.transpose(1, 2)).transpose(1, 2) if self.first else layer(x)
