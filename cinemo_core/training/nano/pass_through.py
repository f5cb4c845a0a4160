"""A start from scratch that already does what is the same for every clip: it takes z0 out of X_t and passes the rest on.

The network sees X_t, residual plus z0, and is asked for the noise (paper sec. 3.1). While noise prevails, that is X_t - z0,
to within a few thousandths; a network of random weights needs very many clips to learn so exact a copy, and until then what
it samples is drowned in its own error. Here the copy is put into the weights; nothing is added to the network, and
everything trains. The value of each channel c takes this way:

1. The first convolution gives +X_c, -X_c and a constant, one normalisation group. Whatever X_c is, the group's mean is then
   fixed and its deviation nearly so: the norms scale by a known factor instead of taking mean and strength out.
2. The last ResBlock lets them pass, from the first convolution's skip connection.
3. In the last transformer, temporal attention gives every frame the value of frame 0, which is z0: its position bias and one
   rotary pair rise with the distance into the past. Its negative is added to the group.
4. The last convolution joins the halves: silu(a) - silu(-a) = a.

The constants must be large for the copy to be exact, so layers that would read them unnormalised do not read them at all.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...models.cinemo.attention import RelativePositionBias
from ...models.cinemo.positions import NUM_BUCKETS
from ...models.cinemo.unet import CinemoUNet
from ...models.sd_unet.blocks import Downsample, SpatialTransformer
from ...models.sd_unet.config import NORM_GROUPS

GROUP = 3  # channels of a normalisation group: +X_c, -X_c, constant


class Reference(NamedTuple):
    """The constant of a group, its mean over the group, and the deviation of (x, -x, constant) for x around 1; exact in half precision."""

    constant: float
    mean: float
    deviation: float


REFERENCE = Reference(210.0, 70.0, 99.0)
TOKEN_CONSTANT = 480.0  # the same within a token, for its LayerNorms
BIAS_PER_FRAME, FUTURE = 6.0, -150.0  # of the position bias
PAIR, TURN = 3, 19.0  # the rotary pair whose angle grows to about 150 degrees over 16 frames; the length of query and key in it


class Held:
    """Values for some coordinates of parameters, which do not train."""

    def __init__(self) -> None:
        self.values: dict[nn.Parameter, Tensor] = {}
        self.masks: dict[nn.Parameter, Tensor] = {}

    def set(self, parameter: Any, place: Any, value: Any) -> None:
        if parameter not in self.values:
            self.values[parameter] = parameter.detach().clone()
            self.masks[parameter] = torch.zeros_like(parameter, dtype=torch.bool)
        self.values[parameter][place] = value
        self.masks[parameter][place] = True

    def only(self, layer: Any, row: int, column: int, weight: float) -> None:
        """Let an output of a linear layer or convolution be this input, times `weight`, and nothing else."""
        self.set(layer.weight, row, 0)
        self.set(layer.weight, (row, column, *centre(layer)), weight)
        if layer.bias is not None:
            self.set(layer.bias, row, 0)

    def ignore(self, layer: Any, columns: list[int]) -> None:
        """Let a layer not read these inputs."""
        self.set(layer.weight, (slice(None), columns), 0)

    def matches(self) -> bool:
        """Whether the parameters have these values already, up to half precision."""
        return all(torch.allclose(p[self.masks[p]], self.values[p][self.masks[p]], rtol=1e-3) for p in self.values)

    @torch.no_grad()
    def write_and_hold(self) -> None:
        for parameter, mask in self.masks.items():
            parameter.copy_(self.values[parameter])
            parameter.held = mask  # type: ignore[attr-defined]
            parameter.register_hook(lambda gradient, mask=mask: gradient.masked_fill(mask.to(gradient.device), 0))


def holds_values(parameter: nn.Parameter) -> bool:
    """Whether a parameter holds other values than zeros."""
    held = getattr(parameter, "held", None)
    return held is not None and bool(parameter[held.to(parameter.device)].any())


def pass_through(unet: CinemoUNet, subtract: bool = True) -> None:
    """Give these weights to a UNet whose blocks begin as identities, and hold them. Raises InputError as `check_sizes` does.

    subtract: take z0 out; a network that learns the noise of the frames themselves must not. Weight decay, which needs no
    gradient, would still move what is held: train with 0.
    """
    check_sizes(unet)
    look_at_first_frame(unet)
    if subtract:
        make_norms_linear(unet)
    copy_of_input(unet, subtract).write_and_hold()


def hold_again(unet: CinemoUNet, subtract: bool = True) -> bool:
    """Hold the copy in a UNet that was trained from such a start. Returns whether it was."""
    if not allows(unet):
        return False
    held = copy_of_input(unet, subtract)
    if held.matches():
        held.write_and_hold()
        return True
    return False


def check_sizes(unet: CinemoUNet) -> None:
    """Raise InputError unless the outermost level has transformers, and three channels to a normalisation group."""
    if not allows(unet):
        raise InputError(
            f"The outermost level of this UNet has {unet.config.widths[0]} channels, and to pass X_t on in held weights it needs "
            f"{GROUP * NORM_GROUPS} and attention; set unet.width = {GROUP * NORM_GROUPS}, and let unet.multipliers and unet.attention "
            "begin with 1 and true."
        )


def allows(unet: CinemoUNet) -> bool:
    last = list(unet.output_blocks[-1].children())
    return unet.config.widths[0] == GROUP * NORM_GROUPS and isinstance(last[-1], SpatialTransformer)


def copy_of_input(unet: CinemoUNet, subtract: bool) -> Held:
    """Steps 1 to 4."""
    held = Held()
    first: Any = unet.input_blocks[0]
    last: Any = list(unet.output_blocks[-1].children())
    channels = unet.config.in_channels
    split_input(held, first[0], channels)
    keep_constants_out(held, unet, channels)
    take_skip(held, last[0], channels)
    if subtract:
        subtract_first_frame(held, last[-1], channels)
    join_output(held, unet.out, channels)
    return held


@torch.no_grad()
def look_at_first_frame(unet: CinemoUNet) -> None:
    """In every transformer, one head of temporal attention begins with its eyes on frame 0: what is drawn is found there."""
    for module in unet.modules():
        if isinstance(module, RelativePositionBias):
            module.relative_attention_bias.weight[:, 0] = look_back()


def split_input(held: Held, conv: Any, channels: int, reference: Reference = REFERENCE) -> None:
    """Step 1."""
    for c in range(channels):
        plus, minus, constant = group(c)
        held.only(conv, plus, c, 1.0)
        held.only(conv, minus, c, -1.0)
        held.only(conv, constant, c, 0.0)
        held.set(conv.bias, constant, reference.constant)


def keep_constants_out(held: Held, unet: CinemoUNet, channels: int) -> None:
    """Of the outermost level, from which the constants come, what reads its maps as they are: downsampling, skip connections."""
    constants = [group(c)[2] for c in range(channels)]
    for module in unet.input_blocks.modules():
        if isinstance(module, Downsample):
            held.ignore(module.op, constants)
            break
    for block in list(unet.output_blocks)[-1 - unet.config.num_res_blocks[0] :]:
        mix: Any = next(block.children()).skip_connection
        held.ignore(mix, [mix.in_channels - GROUP * NORM_GROUPS + i for i in constants])


def take_skip(held: Held, block: Any, channels: int) -> None:
    """Step 2. The skip connection's channels come after those from below."""
    mix = block.skip_connection
    below = mix.in_channels - NORM_GROUPS * GROUP
    for row in range(GROUP * channels):
        held.only(mix, row, below + row, 1.0)


def subtract_first_frame(held: Held, transformer: Any, channels: int) -> None:
    """Step 3. Token channels: X_c, -X_c, the places for -z0_c, constants, then whatever trains.

    Value is half the difference of X_c and -X_c: what the norms add to both drops out.
    """
    value, opposite, negative, constant = (list(range(i * channels, (i + 1) * channels)) for i in range(4))
    make_linear(held, transformer.norm, channels, TOKEN_CONSTANT)
    held.ignore(transformer.proj_in, [group(c)[2] for c in range(channels)])
    held.ignore(transformer.proj_out, constant)
    width = transformer.proj_in.out_channels
    for c in range(channels):
        plus, minus, reference = group(c)
        held.only(transformer.proj_in, value[c], plus, 1.0)
        held.only(transformer.proj_in, opposite[c], minus, 1.0)
        held.only(transformer.proj_in, negative[c], plus, 0.0)
        held.only(transformer.proj_in, constant[c], reference, 1.0)
        held.set(transformer.proj_out.weight, (plus, negative[c]), 1.0)
        held.set(transformer.proj_out.weight, (minus, negative[c]), -1.0)

    block = transformer.transformer_blocks[0]
    kept = [*value, *opposite, *negative, *constant]
    mean, deviation = of_tokens(channels, width)
    for norm in (block.norm1, block.norm2, block.norm_temp, block.norm3):
        held.set(norm.weight, kept, deviation)
        held.set(norm.bias, kept, mean)
        held.set(norm.weight, constant, 0)
        held.set(norm.bias, constant, 1)
    for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.attn_temp.to_out[0], block.ff.net[2]):
        held.set(layer.weight, kept, 0)
        held.set(layer.bias, kept, 0)

    attention = block.attn_temp
    head = slice(0, width // attention.heads)
    held.set(attention.to_q.weight, head, 0)
    held.set(attention.to_k.weight, head, 0)
    held.set(attention.to_q.weight, (2 * PAIR, constant[0]), -TURN)
    held.set(attention.to_k.weight, (2 * PAIR, constant[0]), TURN)
    held.set(attention.time_rel_pos_bias.relative_attention_bias.weight, (slice(None), 0), look_back())
    for c in range(channels):
        held.only(attention.to_v, c, value[c], 0.5)
        held.set(attention.to_v.weight, (c, opposite[c]), -0.5)
        held.only(attention.to_out[0], negative[c], c, -1.0)


@torch.no_grad()
def make_norms_linear(unet: CinemoUNet) -> None:
    """Let the LayerNorms of step 3 pass on all else, too, as it is; it trains."""
    last: Any = list(unet.output_blocks[-1].children())
    block = last[-1].transformer_blocks[0]
    mean, deviation = of_tokens(unet.config.in_channels, unet.config.widths[0])
    for norm in (block.norm1, block.norm2, block.norm_temp, block.norm3):
        norm.weight.fill_(deviation)
        norm.bias.fill_(mean)


def of_tokens(channels: int, width: int) -> tuple[float, float]:
    """Mean and deviation of a token, which its constants decide."""
    mean = TOKEN_CONSTANT * channels / width
    return mean, math.sqrt(TOKEN_CONSTANT**2 * channels / width - mean**2)


def join_output(held: Held, out: Any, channels: int, reference: Reference = REFERENCE) -> None:
    """Step 4. What the network adds to the noise, it adds to the groups or by other channels."""
    norm, _, conv = out
    make_linear(held, norm, channels, 0.0, reference)
    for c in range(channels):
        plus, minus, _ = group(c)
        held.set(conv.weight, (c, plus, *centre(conv)), 1.0)
        held.set(conv.weight, (c, minus, *centre(conv)), -1.0)


def make_linear(held: Held, norm: Any, channels: int, constant: float, reference: Reference = REFERENCE) -> None:
    """Let a norm pass on the values of the groups, and this in place of their constants."""
    for c in range(channels):
        plus, minus, third = group(c)
        held.set(norm.weight, [plus, minus], reference.deviation)
        held.set(norm.bias, [plus, minus], reference.mean)
        held.set(norm.weight, third, 0)
        held.set(norm.bias, third, constant)


def look_back() -> Tensor:
    """Position bias by bucket: the farther in the past, the more."""
    past = torch.arange(NUM_BUCKETS // 2) * BIAS_PER_FRAME
    return torch.cat([past, torch.full((NUM_BUCKETS // 2,), FUTURE)])


def group(c: int) -> tuple[int, int, int]:
    """Channels of the group of latent channel c: +X_c, -X_c, constant."""
    return GROUP * c, GROUP * c + 1, GROUP * c + 2


def centre(layer: Any) -> tuple[int, ...]:
    return tuple(size // 2 for size in layer.weight.shape[2:])
