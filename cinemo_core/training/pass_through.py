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
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..models.cinemo.blocks import SpatioTemporalTransformer
from ..models.cinemo.config import NORM_GROUPS
from ..models.cinemo.embeddings import NUM_BUCKETS
from ..models.cinemo.unet import CinemoUNet

GROUP = 3  # channels of a normalisation group: +X_c, -X_c, constant
CONSTANT = 30.0  # far above what X_c reaches, so that it decides the group's deviation
DEVIATION = CONSTANT * 2**0.5 / 3  # of (x, -x, constant), for small x
MEAN = CONSTANT / 3
TOKEN_CONSTANT = 60.0  # the same within a token, for its LayerNorms
BIAS_PER_FRAME, FUTURE = 6.0, -150.0  # of the position bias
PAIR, TURN = 3, 19.0  # the rotary pair whose angle grows to about 150 degrees over 16 frames; the length of query and key in it


@torch.no_grad()
def pass_through(unet: CinemoUNet, subtract: bool = True) -> bool:
    """Give these weights to a UNet whose blocks begin as identities. Returns whether its sizes allow it.

    They do where the outermost level has transformers and three channels to a normalisation group. subtract: take z0 out; a
    network that learns the noise of the frames themselves shall not.
    """
    first: Any = unet.input_blocks[0]
    last: Any = list(unet.output_blocks[-1].children())
    channels = unet.config.in_channels
    if unet.config.widths[0] != GROUP * NORM_GROUPS or not isinstance(last[-1], SpatioTemporalTransformer):
        return False
    split_input(first[0], channels)
    take_skip(last[0], channels)
    if subtract:
        subtract_first_frame(last[-1], channels)
    join_output(unet.out, channels)
    return True


def split_input(conv: Any, channels: int) -> None:
    """Step 1."""
    for c in range(channels):
        plus, minus, constant = group(c)
        only(conv, plus, c, 1.0)
        only(conv, minus, c, -1.0)
        only(conv, constant, c, 0.0)
        conv.bias[constant] = CONSTANT


def take_skip(block: Any, channels: int) -> None:
    """Step 2. The skip connection's channels come behind those from below."""
    mix = block.skip_connection
    below = mix.in_channels - NORM_GROUPS * GROUP
    for row in range(GROUP * channels):
        only(mix, row, below + row, 1.0)


def subtract_first_frame(transformer: Any, channels: int) -> None:
    """Step 3. Token channels: X_c, -X_c, the places for -z0_c, constants, then whatever trains.

    Value is half the difference of X_c and -X_c: what the norms add to both drops out.
    """
    value, opposite, negative, constant = (list(range(i * channels, (i + 1) * channels)) for i in range(4))
    make_linear(transformer.norm, channels, TOKEN_CONSTANT)
    width = transformer.proj_in.out_channels
    transformer.proj_in.weight[:, [group(c)[2] for c in range(channels)]] = 0
    for c in range(channels):
        plus, minus, reference = group(c)
        only(transformer.proj_in, value[c], plus, 1.0)
        only(transformer.proj_in, opposite[c], minus, 1.0)
        only(transformer.proj_in, negative[c], plus, 0.0)
        only(transformer.proj_in, constant[c], reference, 1.0)
        only(transformer.proj_out, plus, negative[c], 1.0)
        only(transformer.proj_out, minus, negative[c], -1.0)

    block = transformer.transformer_blocks[0]
    mean = TOKEN_CONSTANT * channels / width
    deviation = math.sqrt(TOKEN_CONSTANT**2 * channels / width - mean**2)
    for norm in (block.norm1, block.norm2, block.norm_temp, block.norm3):
        norm.weight.fill_(deviation)
        norm.bias.fill_(mean)
        norm.weight[constant] = 0
        norm.bias[constant] = 1
    kept = [*value, *opposite, *negative, *constant]
    for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.attn_temp.to_out[0], block.ff.net[2]):
        layer.weight[kept] = 0
        layer.bias[kept] = 0

    attention = block.attn_temp
    head = slice(0, width // attention.heads)
    attention.to_q.weight[head] = 0
    attention.to_k.weight[head] = 0
    attention.to_q.weight[2 * PAIR, constant[0]] = -TURN
    attention.to_k.weight[2 * PAIR, constant[0]] = TURN
    attention.time_rel_pos_bias.relative_attention_bias.weight[:, 0] = look_back()
    for c in range(channels):
        only(attention.to_v, c, value[c], 0.5)
        attention.to_v.weight[c, opposite[c]] = -0.5
        only(attention.to_out[0], negative[c], c, -1.0)


def join_output(out: Any, channels: int) -> None:
    """Step 4."""
    norm, _, conv = out
    make_linear(norm, channels, 0.0)
    for c in range(channels):
        plus, minus, _ = group(c)
        only(conv, c, plus, 1.0)
        place = (c, minus, *centre(conv))
        conv.weight[place] = -1.0


def make_linear(norm: Any, channels: int, constant: float) -> None:
    """Let a norm pass on the values of the groups, and this in place of their constants."""
    for c in range(channels):
        plus, minus, reference = group(c)
        norm.weight[[plus, minus]] = DEVIATION
        norm.bias[[plus, minus]] = MEAN
        norm.weight[reference] = 0
        norm.bias[reference] = constant


def look_back() -> Tensor:
    """Position bias by bucket: the farther in the past, the more."""
    past = torch.arange(NUM_BUCKETS // 2) * BIAS_PER_FRAME
    return torch.cat([past, torch.full((NUM_BUCKETS // 2,), FUTURE)])


def group(c: int) -> tuple[int, int, int]:
    """Channels of the group of latent channel c: +X_c, -X_c, constant."""
    return GROUP * c, GROUP * c + 1, GROUP * c + 2


def only(layer: Any, row: int, column: int, weight: float) -> None:
    """Let an output of a linear layer or convolution be this input, times `weight`, and nothing else."""
    layer.weight[row] = 0
    place = (row, column, *centre(layer))
    layer.weight[place] = weight
    if layer.bias is not None:
        layer.bias[row] = 0


def centre(layer: Any) -> tuple[int, ...]:
    return tuple(size // 2 for size in layer.weight.shape[2:])
