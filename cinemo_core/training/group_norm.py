"""Group norm, with SiLU where asked for, for training on a CPU with channels last.

oneDNN's bfloat16 convolutions are three to five times as fast with channels last, but torch's own group norm is then several
times slower. Here statistics are two sums per channel and the norm is one multiplication per value; what SiLU needs in the
backward pass is computed again instead of being kept.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """torch's group norm of maps [n, c, h, w] or clips [n, c, f, h, w]; on a CPU best with channels last in memory, as it returns them."""

    silu = False

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            x = super().forward(x)
            return F.silu(x) if self.silu else x
        last = x.movedim(1, -1)
        tokens = last.reshape(last.shape[0], -1, last.shape[-1])
        return NormFunction.apply(tokens, self.weight, self.bias, self.num_groups, self.eps, self.silu).view(last.shape).movedim(-1, 1)


class NormSiLU(GroupNorm):
    """Stands in for a norm followed by SiLU."""

    silu = True

    @classmethod
    def of(cls, norm: nn.GroupNorm) -> "NormSiLU":
        """With the same parameters."""
        made = cls(norm.num_groups, norm.num_channels, norm.eps)
        made.weight, made.bias = norm.weight, norm.bias
        return made


class NormFunction(torch.autograd.Function):
    """group_norm(x), or silu of it, of [n, places, c].

    Sums are made in the type of x, whose rounding is no worse than that of x itself once each channel's mean is taken out.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        places, size = x.shape[1], x.shape[2] // groups
        x, centre = centred(x)
        rest = precise(x.sum(1)) / places
        channel_mean = precise(centre) + rest
        mean = over_groups(channel_mean, groups) / size
        variance = precise((x * x).sum(1)) / places - rest.square() + (channel_mean - mean).square()
        inverse = (over_groups(variance, groups) / size + eps).rsqrt()
        scale = inverse * weight
        mean = mean - precise(centre)  # of the group, seen from the channel's centre
        shift = bias - mean * scale
        ctx.save_for_backward(x, weight, mean, inverse, scale, shift)
        ctx.groups, ctx.silu = groups, silu
        normed = affine(x, scale, shift)
        return F.silu(normed, inplace=True) if silu else normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, mean, inverse, scale, shift = ctx.saved_tensors
        groups = ctx.groups
        count = x.shape[1] * (x.shape[2] // groups)
        gradient = gradients[0].to(x.dtype)  # of the norm's output
        if ctx.silu:
            gradient = torch.ops.aten.silu_backward(gradient, affine(x, scale, shift))
        total, product = precise(gradient.sum(1)), precise((gradient * x).sum(1))
        along = (product - total * mean) * inverse  # n c: sum of gradient times normalised value
        # d/dx = scale * gradient - inverse / count * (A + normalised * B), A and B summed over a group
        slope = -inverse * inverse * over_groups(along * weight, groups) / count
        offset = -inverse * over_groups(total * weight, groups) / count - slope * mean
        result = affine(x, slope, offset).addcmul_(gradient, scale[:, None].to(x.dtype))
        return result, along.sum(0), total.sum(0), None, None, None


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """[n, places, c] without the mean of each channel, as its type rounds it, and that mean [n, c]."""
    centre = x.sum(1) / x.shape[1]
    return x - centre[:, None], centre


def precise(values: Tensor) -> Tensor:
    """At least in float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def over_groups(values: Tensor, groups: int) -> Tensor:
    """The sum over each group, for each of its channels: [n, c] -> [n, c]."""
    n, c = values.shape
    return values.view(n, groups, -1).sum(2, keepdim=True).expand(n, groups, c // groups).reshape(n, c)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x times scale plus shift; x: [n, places, c], the others [n, c]."""
    return torch.addcmul(shift[:, None].to(x.dtype), x, scale[:, None].to(x.dtype))


def use_fast_norms(vae: Any) -> None:
    """Let the ResNet blocks and the outputs of a diffusers VAE use `NormSiLU`; names and weights stay as they are."""
    module: Any
    for module in vae.modules():
        if hasattr(module, "norm1") and hasattr(module, "nonlinearity"):
            module.norm1, module.norm2, module.nonlinearity = NormSiLU.of(module.norm1), NormSiLU.of(module.norm2), nn.Identity()
        if hasattr(module, "conv_norm_out") and hasattr(module, "conv_act"):
            module.conv_norm_out, module.conv_act = NormSiLU.of(module.conv_norm_out), nn.Identity()
