"""A start from scratch in which the network learns motion at its own size, at every noise level.

The network is to give the noise e. With residual r, x = X_t - z0 = s r + q e, where s^2 is the product of (1 - beta) and
s^2 + q^2 = 1. For residuals of deviation d, the best guess from x alone and what is left to learn are (arXiv 2206.00364, Table 1)

    e = a x - b F,    a = q / (s^2 d^2 + q^2),    b = s d / sqrt(s^2 d^2 + q^2),

and F has unit size at every timestep. At timestep 900 it counts 0.01 in e, less than a step of the last layers moves them. Here
the weights begin with, and hold, these parts; nothing is added to the network:

1. x passes as in `pass_through`: +X_c, -X_c and a constant are a normalisation group, temporal attention takes z0 out.
2. a - 1 and b come out of the time embedding: a few of its channels are held, and rows that read both off them, by least squares.
3. The last feed-forward multiplies: gelu(g) - gelu(-g) = g, so two of its units give b F, two more (a - 1) x. What else the
   network could add to the noise is held at zero, so all that is learnt is F.
4. The first transformer writes z0 and the size of x at each place into every frame: what moves is there to be moved, and
   frame 0, where x is nothing, can be distinguished from the others.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.cinemo.attention import RelativePositionBias
from ...models.cinemo.positions import NUM_BUCKETS
from ...models.cinemo.schedule import alphas_cumprod
from ...models.cinemo.unet import CinemoUNet
from ...models.sd_unet.embeddings import sinusoid
from .pass_through import (
    FUTURE,
    GROUP,
    Held,
    Reference,
    centre,
    check_sizes,
    group,
    join_output,
    keep_constants_out,
    look_at_first_frame,
    look_back,
    make_linear,
    split_input,
    take_skip,
)

REFERENCE = Reference(1224.0, 408.0, 577.0)  # 408 / 577 is the root of 1/2 to 2e-6, so the norms add next to nothing
TOKEN_CONSTANT = 1920.0  # of the first and the last transformer: large against what their tokens learn, exact in half precision
LEVEL_CHANNELS = 32  # of the time embedding that s is read from
SLOW = 28  # of its frequencies, the first that turns less than a few times over all timesteps
SPREAD = 0.6  # d
ENERGY = 0.25
LOOKING = 2.0  # times the position bias of `pass_through`: what leaks in from other frames is then below 1e-5
PAIR, TURN = 4, 40.0  # the rotary pair that turns by a tenth a frame, up to 31 frames; the length of query and key in it
FADING = -0.15  # position bias per frame of the head that looks at the past


def gated_start(unet: CinemoUNet, seed: int) -> None:
    """Give these weights to a UNet whose blocks begin as identities, and hold them. Raises InputError as `check_sizes` does."""
    check_sizes(unet)
    look_at_first_frame(unet)
    look_at_the_past(unet)
    make_norms_linear(unet)
    quiet(unet)
    held_parts(unet, seed).write_and_hold()


def held_parts(unet: CinemoUNet, seed: int) -> Held:
    """Parts 1 to 4."""
    held, channels = Held(), unet.config.in_channels
    first: Any
    begin: Any
    last: Any
    first, begin, last = (list(block.children()) for block in (unet.input_blocks[0], unet.input_blocks[1], unet.output_blocks[-1]))
    split_input(held, first[0], channels, REFERENCE)
    keep_constants_out(held, unet, channels)
    for block in (begin[0], last[0]):
        keep_rows(held, block.out_layers[3], range(GROUP * channels))
    for layer in (first[0], begin[0].out_layers[3]):
        keep_rows(held, layer, first_frame_channels(channels))
    write_first_frame(held, begin[1], channels)
    take_skip(held, last[0], channels)
    read_level(held, unet, last[0], channels, seed)
    gate_output(held, last[1], channels)
    join_output(held, unet.out, channels, REFERENCE)
    nothing_else(held, unet.out[2], channels)
    return held


def gates() -> tuple[Tensor, Tensor]:
    """a - 1 and b at every timestep, [1000] each."""
    alphas = alphas_cumprod().double()
    size = alphas * SPREAD**2 + 1 - alphas
    return (1 - alphas).sqrt() / size - 1, alphas.sqrt() * SPREAD / size.sqrt()


def level_features(unet: CinemoUNet, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the held part of the time embedding, exact in half precision: two layers and their biases, and the rows that
    read the gates off them, [2, LEVEL_CHANNELS + 1].
    """
    generator = torch.Generator().manual_seed(seed)
    width, n = unet.config.model_channels, LEVEL_CHANNELS
    half = width // 2
    first = torch.randn(n, width, generator=generator) * 1.5
    first[:, [k for k in range(width) if k % half < SLOW]] = 0
    second = torch.randn(n, n, generator=generator) * (1.5 / n**0.5)
    biases = torch.randn(2, n, generator=generator)
    first, second, biases = (t.half().double() for t in (first, second, biases))
    wanted = torch.stack(gates(), dim=1)
    seen = sinusoid(torch.arange(len(wanted)), width).double()
    features = F.silu(F.silu(seen @ first.T + biases[0]) @ second.T + biases[1])
    features = torch.cat([features, torch.ones(len(wanted), 1, dtype=features.dtype)], dim=1)
    weight = 1 / (wanted[:, 1:] + 0.003)  # an error counts as much as it does in F
    normal = (features * weight).T @ (features * weight) + 0.01 * torch.eye(n + 1, dtype=features.dtype)
    rows = torch.linalg.solve(normal, (features * weight).T @ (wanted * weight)).T
    return first.float(), second.float(), biases.float(), rows.half().float()


def read_level(held: Held, unet: CinemoUNet, block: Any, channels: int, seed: int) -> None:
    """Part 2: each of the two groups after those of X holds a gate, its negative and a constant when the last ResBlock is done."""
    first, second, biases, readings = level_features(unet, seed)
    n = LEVEL_CHANNELS
    own = slice(0, n)
    into, out_of = unet.time_embed[0], unet.time_embed[2]
    held.set(into.weight, own, first)
    held.set(into.bias, own, biases[0])
    held.set(out_of.weight, own, 0)
    held.set(out_of.weight, (own, own), second)
    held.set(out_of.bias, own, biases[1])
    held.set(unet.motion_embed[2].weight, own, 0)
    held.set(unet.motion_embed[2].bias, own, 0)

    embedding, norm, conv = block.emb_layers[1], block.out_layers[0], block.out_layers[3]
    for reading, place in zip(readings, gate_groups(channels), strict=True):
        plus, minus, reference = rows = group(place)
        for layer in (block.in_layers[2], conv, block.skip_connection, embedding):
            keep_rows(held, layer, rows)
        for row, sign in ((plus, 1), (minus, -1)):
            held.set(embedding.weight, (row, own), sign * reading[:-1])
            held.set(embedding.bias, row, sign * reading[-1])
            held.set(conv.weight, (row, plus, *centre(conv)), sign)
            held.set(conv.weight, (row, minus, *centre(conv)), -sign)
        held.set(block.in_layers[2].bias, reference, REFERENCE.constant)
        held.set(conv.bias, reference, REFERENCE.constant)
        pass_group(held, norm, place)


def gate_groups(channels: int) -> tuple[int, int]:
    """Groups of a - 1 and of b."""
    return channels, channels + 1


def pass_group(held: Held, norm: Any, place: int) -> None:
    """Let a norm pass on a group's value and its negative, and nothing in place of its constant."""
    plus, minus, reference = group(place)
    held.set(norm.weight, [plus, minus], REFERENCE.deviation)
    held.set(norm.bias, [plus, minus], REFERENCE.mean)
    held.set(norm.weight, reference, 0)
    held.set(norm.bias, reference, 0)


def take_first_frame(held: Held, transformer: Any, channels: int, kept: int) -> list[list[int]]:
    """Token channels of a transformer: X_c, -X_c, -z0_c (by temporal attention), constants; more, so that norms scale all alike.

    kept: how many token channels in all the norms pass on. Returns the places of the first four.
    """
    places = [list(range(i * channels, (i + 1) * channels)) for i in range(4)]
    value, opposite, negative, constant = places
    make_linear(held, transformer.norm, channels, TOKEN_CONSTANT, REFERENCE)
    held.ignore(transformer.proj_in, [group(c)[2] for c in range(channels)])
    held.ignore(transformer.proj_out, constant)
    for c in range(channels):
        plus, minus, reference = group(c)
        held.only(transformer.proj_in, value[c], plus, 1.0)
        held.only(transformer.proj_in, opposite[c], minus, 1.0)
        held.only(transformer.proj_in, negative[c], plus, 0.0)
        held.only(transformer.proj_in, constant[c], reference, 1.0)

    block = transformer.transformer_blocks[0]
    mean, deviation = of_tokens(channels, transformer.proj_in.out_channels)
    for norm in (block.norm1, block.norm2, block.norm_temp, block.norm3):
        held.set(norm.weight, slice(0, kept), deviation)
        held.set(norm.bias, slice(0, kept), mean)
        held.set(norm.weight, constant, 0)
        held.set(norm.bias, constant, 1)
    for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.attn_temp.to_out[0], block.ff.net[2]):
        keep_rows(held, layer, range(4 * channels))

    attention = block.attn_temp
    head = slice(0, transformer.proj_in.out_channels // attention.heads)
    held.set(attention.to_q.weight, head, 0)
    held.set(attention.to_k.weight, head, 0)
    held.set(attention.to_q.weight, (2 * PAIR, constant[0]), -TURN)
    held.set(attention.to_k.weight, (2 * PAIR, constant[0]), TURN)
    held.set(attention.time_rel_pos_bias.relative_attention_bias.weight, (slice(None), 0), LOOKING * look_back())
    for c in range(channels):
        held.only(attention.to_v, c, value[c], 0.5)
        held.set(attention.to_v.weight, (c, opposite[c]), -0.5)
        held.only(attention.to_out[0], negative[c], c, -1.0)
    return places


def write_first_frame(held: Held, transformer: Any, channels: int) -> None:
    """Part 4: z0 goes to channels of its own, and so does the mean of x squared."""
    energy = 4 * channels
    value, opposite, negative, _ = take_first_frame(held, transformer, channels, energy + 1)
    feed_forward = transformer.transformer_blocks[0].ff.net
    for layer in (feed_forward[2], *attention_outputs(transformer)):
        keep_rows(held, layer, [energy])
    held.only(transformer.proj_in, energy, group(0)[0], 0.0)
    for c in range(channels):
        for unit, sign in ((2 * c, 0.5), (2 * c + 1, -0.5)):  # gelu(a) a + gelu(-a) (-a) = a^2, of x_c = X_c - z0_c
            for row in (unit, unit + gate_offset(feed_forward)):
                held.only(feed_forward[0].proj, row, value[c], sign)
                held.set(feed_forward[0].proj.weight, (row, opposite[c]), -sign)
                held.set(feed_forward[0].proj.weight, (row, negative[c]), 2 * sign)
            held.set(feed_forward[2].weight, (energy, unit), ENERGY)
    keep_rows(held, transformer.proj_out, range(GROUP * channels))
    *first_frame, mean_square = first_frame_channels(channels)
    for c in range(channels):
        held.only(transformer.proj_out, first_frame[c], negative[c], -1.0)
    held.only(transformer.proj_out, mean_square, energy, 1.0)


def first_frame_channels(channels: int) -> list[int]:
    """Of the outermost level, after those of X and of the gates: z0, and the mean of x squared."""
    first = GROUP * (max(gate_groups(channels)) + 1)
    return list(range(first, first + channels + 1))


def gate_output(held: Held, transformer: Any, channels: int) -> None:
    """Part 3. Behind the places of `take_first_frame`: -F and F, which train, and the gates, each with its negative."""
    first = 4 * channels
    learnt, opposed = (list(range(first + i * channels, first + (i + 1) * channels)) for i in (0, 1))
    tokens = first + 2 * channels
    value, opposite, negative, _ = take_first_frame(held, transformer, channels, tokens + 4)
    feed_forward = transformer.transformer_blocks[0].ff.net
    into = feed_forward[0].proj
    for layer in (feed_forward[2], *attention_outputs(transformer)):
        keep_rows(held, layer, range(tokens, tokens + 4))
    for i, place in enumerate(gate_groups(channels)):
        pass_group(held, transformer.norm, place)
        plus, minus, _ = group(place)
        held.only(transformer.proj_in, tokens + 2 * i, plus, 1.0)
        held.only(transformer.proj_in, tokens + 2 * i + 1, minus, 1.0)

    units = iter(range(4 * channels))
    for c in range(channels):
        for gate, parts in ((tokens, ((value[c], 0.5), (opposite[c], -0.5), (negative[c], 1.0))),
                            (tokens + 2, ((learnt[c], 0.5), (opposed[c], -0.5)))):  # fmt: skip
            for sign in (1, -1):
                unit = next(units)
                keep_rows(held, into, [unit, unit + gate_offset(feed_forward)])
                for column, weight in parts:
                    held.set(into.weight, (unit, column), weight)
                held.set(into.weight, (unit + gate_offset(feed_forward), gate), 0.5 * sign)
                held.set(into.weight, (unit + gate_offset(feed_forward), gate + 1), -0.5 * sign)
                held.set(feed_forward[2].weight, (negative[c], unit), sign)
    keep_rows(held, transformer.proj_out, range(GROUP * channels))
    for c in range(channels):
        held.set(transformer.proj_out.weight, (group(c)[0], negative[c]), 1.0)
        held.set(transformer.proj_out.weight, (group(c)[1], negative[c]), -1.0)


def of_tokens(channels: int, width: int) -> tuple[float, float]:
    """Mean and deviation of a token, which its constants decide."""
    mean = TOKEN_CONSTANT * channels / width
    return mean, math.sqrt(TOKEN_CONSTANT**2 * channels / width - mean**2)


@torch.no_grad()
def make_norms_linear(unet: CinemoUNet) -> None:
    """Let the LayerNorms of the first and the last transformer pass on all tokens as they are; what is not held trains."""
    for block in (unet.input_blocks[1], unet.output_blocks[-1]):
        transformer: Any = list(block.children())[1]
        mean, deviation = of_tokens(unet.config.in_channels, unet.config.widths[0])
        inner = transformer.transformer_blocks[0]
        for norm in (inner.norm1, inner.norm2, inner.norm_temp, inner.norm3):
            norm.weight.fill_(deviation)
            norm.bias.fill_(mean)


@torch.no_grad()
def quiet(unet: CinemoUNet) -> None:
    """F begins as nothing."""
    transformer: Any = list(unet.output_blocks[-1].children())[1]
    first = 4 * unet.config.in_channels
    places = slice(first, first + 2 * unet.config.in_channels)
    for layer in (transformer.proj_in, *attention_outputs(transformer)):
        layer.weight[places] = 0
        layer.bias[places] = 0


@torch.no_grad()
def look_at_the_past(unet: CinemoUNet) -> None:
    """The second head of temporal attention begins by attending to the past, most to the nearest frames, so it can measure it."""
    for module in unet.modules():
        if isinstance(module, RelativePositionBias) and module.relative_attention_bias.weight.shape[1] > 1:
            past = torch.arange(NUM_BUCKETS // 2) * FADING
            module.relative_attention_bias.weight[:, 1] = torch.cat([past, torch.full((NUM_BUCKETS // 2,), FUTURE)])


def attention_outputs(transformer: Any) -> list[Any]:
    block = transformer.transformer_blocks[0]
    return [block.attn1.to_out[0], block.attn2.to_out[0], block.attn_temp.to_out[0]]


def gate_offset(feed_forward: Any) -> int:
    """Row of the first gate in the layer that gives values and gates."""
    return feed_forward[2].weight.shape[1]


def keep_rows(held: Held, layer: Any, rows: Any) -> None:
    """Let these outputs of a layer be zero."""
    held.set(layer.weight, list(rows), 0)
    if layer.bias is not None:
        held.set(layer.bias, list(rows), 0)


def nothing_else(held: Held, conv: Any, channels: int) -> None:
    """Let the last convolution join the halves, and read nothing else."""
    for c in range(channels):
        plus, minus, _ = group(c)
        held.only(conv, c, plus, 1.0)
        held.set(conv.weight, (c, minus, *centre(conv)), -1.0)
