"""Names and shapes of a VAE's tensors: the diffusers layout, and the LDM layout that ComfyUI's networks have.

The image VAE is Stable Diffusion 1.x's (arXiv 2112.10752). The temporal one keeps its encoder; each ResNet block of its
decoder is followed by a convolution over time, mixed in by a learned factor, and so is the last convolution (Stable Video
Diffusion, arXiv 2311.15127; diffusers' AutoencoderKLTemporalDecoder).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import CheckpointError
from ...files.checkpoint import Shapes, compare, shapes_of, size_of

NORM_GROUPS = 32
LATENT_CHANNELS = 4
LEVELS = 4  # each but the last halves the size: 8 pixels to a latent


@dataclass(frozen=True)
class VAEConfig:
    """Channels of each level, the outermost first; ResNet blocks per level of the encoder (the decoder has one more)."""

    widths: tuple[int, ...]
    num_res_blocks: int
    temporal: bool
    latent_channels: int = LATENT_CHANNELS

    def __post_init__(self) -> None:
        if self.latent_channels != LATENT_CHANNELS:
            raise CheckpointError(
                f"The VAE has {self.latent_channels} latent channels, Cinemo works on {LATENT_CHANNELS}: "
                "use a Stable Diffusion 1.x VAE or Cinemo's own."
            )
        if len(self.widths) != LEVELS:
            raise CheckpointError(
                f"The VAE has {len(self.widths)} levels, Cinemo's has {LEVELS} (8 pixels to a latent): "
                "use a Stable Diffusion 1.x VAE or Cinemo's own."
            )
        if any(w % NORM_GROUPS or w % self.widths[0] for w in self.widths):
            raise CheckpointError(
                f"The VAE's levels are {list(self.widths)} channels wide, expected multiples of {NORM_GROUPS} and of the first: "
                "use another VAE."
            )
        if self.temporal and self.num_res_blocks != 2:
            raise CheckpointError(f"The temporal VAE has {self.num_res_blocks} ResNet blocks per level, expected 2: use Cinemo's own.")

    @property
    def ddconfig(self) -> dict:
        """The same as LDM's configuration of encoder and decoder."""
        return {
            "double_z": True,
            "z_channels": self.latent_channels,
            "resolution": 256,
            "in_channels": 3,
            "out_ch": 3,
            "ch": self.widths[0],
            "ch_mult": [w // self.widths[0] for w in self.widths],
            "num_res_blocks": self.num_res_blocks,
            "attn_resolutions": [],
            "dropout": 0.0,
        }


class Entry(NamedTuple):
    """One tensor. The LDM shape differs from the diffusers one where attention is a 1x1 convolution instead of a Linear."""

    ldm: str
    diffusers: str
    shape: tuple[int, ...]
    diffusers_shape: tuple[int, ...]


def is_diffusers(keys: Mapping) -> bool:
    return any(key.startswith("encoder.down_blocks.") for key in keys)


def is_temporal(keys: Mapping) -> bool:
    return any(key.endswith(".mix_factor") for key in keys)


def read_config(shapes: Shapes) -> VAEConfig:
    """The configuration of a VAE in either layout, from its shapes.

    Raises CheckpointError where these are not the shapes of such a VAE, or of one that does not fit Cinemo.
    """
    levels = "encoder.down_blocks.{}.resnets.{}." if is_diffusers(shapes) else "encoder.down.{}.block.{}."
    conv = levels + "conv1.weight"
    widths: list[int] = []
    while (name := conv.format(len(widths), 0)) in shapes:
        widths.append(size_of(shapes, name, 4, "The VAE")[0])
    blocks = 0
    while conv.format(0, blocks) in shapes:
        blocks += 1
    if not widths or "decoder.conv_in.weight" not in shapes:
        raise CheckpointError("The VAE lacks its encoder or its decoder: the file is incomplete or of another model; choose a whole VAE.")
    return VAEConfig(tuple(widths), blocks, is_temporal(shapes), size_of(shapes, "decoder.conv_in.weight", 4, "The VAE")[1])


def entries(config: VAEConfig) -> list[Entry]:
    """Every tensor of a VAE, by its names in both layouts. The quant convolutions have the same name in both."""
    z, widths, last = config.latent_channels, config.widths, LEVELS - 1
    found = [*_conv("encoder.conv_in", "encoder.conv_in", 3, widths[0], 3)]
    for i, width in enumerate(widths):
        for j in range(config.num_res_blocks):
            before = widths[max(i - 1, 0)] if j == 0 else width
            found += _resnet(f"encoder.down.{i}.block.{j}", f"encoder.down_blocks.{i}.resnets.{j}", before, width)
        if i < last:
            found += _conv(f"encoder.down.{i}.downsample.conv", f"encoder.down_blocks.{i}.downsamplers.0.conv", width, width, 3)
    found += _middle("encoder", widths[-1], _resnet)
    found += _norm("encoder.norm_out", "encoder.conv_norm_out", widths[-1])
    found += _conv("encoder.conv_out", "encoder.conv_out", widths[-1], 2 * z, 3)
    found += _conv("quant_conv", "quant_conv", 2 * z, 2 * z, 1)

    resnet = _temporal_resnet if config.temporal else _resnet
    if not config.temporal:
        found += _conv("post_quant_conv", "post_quant_conv", z, z, 1)
    found += _conv("decoder.conv_in", "decoder.conv_in", z, widths[-1], 3)
    found += _middle("decoder", widths[-1], resnet)
    for i, width in enumerate(reversed(widths)):  # diffusers counts from the innermost level, LDM from the outermost
        for j in range(config.num_res_blocks + 1):
            before = widths[min(last - i + 1, last)] if j == 0 else width
            found += resnet(f"decoder.up.{last - i}.block.{j}", f"decoder.up_blocks.{i}.resnets.{j}", before, width)
        if i < last:
            found += _conv(f"decoder.up.{last - i}.upsample.conv", f"decoder.up_blocks.{i}.upsamplers.0.conv", width, width, 3)
    found += _norm("decoder.norm_out", "decoder.conv_norm_out", widths[0])
    found += _conv("decoder.conv_out", "decoder.conv_out", widths[0], 3, 3)
    if config.temporal:
        found += _pair("decoder.conv_out.time_mix_conv", "decoder.time_conv_out", (3, 3, 3, 1, 1))
    return found


def to_ldm(state_dict: Mapping[str, Tensor], config: VAEConfig) -> dict[str, Tensor]:
    """A diffusers temporal VAE under the names of ComfyUI's temporal VAE. Raises CheckpointError unless it is complete.

    That VAE has no quant convolution, so it is folded into the encoder's last one; other tensors are passed on, reshaped
    at most.
    """
    table = entries(config)
    compare(shapes_of(state_dict), {e.diffusers: e.diffusers_shape for e in table}, "The temporal VAE")
    return fold_quant_conv({e.ldm: state_dict[e.diffusers].reshape(e.shape) for e in table})


def fold_quant_conv(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`quant_conv` multiplied into `encoder.conv_out`, in float64, kept in float32 whatever the file's dtype."""
    out = {k: v for k, v in state_dict.items() if not k.startswith("quant_conv.")}
    weight, bias = (state_dict[f"encoder.conv_out.{p}"].double() for p in ("weight", "bias"))
    quant_weight, quant_bias = state_dict["quant_conv.weight"].double()[:, :, 0, 0], state_dict["quant_conv.bias"].double()
    out["encoder.conv_out.weight"] = torch.einsum("om,mchw->ochw", quant_weight, weight).float()
    out["encoder.conv_out.bias"] = (quant_weight @ bias + quant_bias).float()
    return out


def _pair(ldm: str, diffusers: str, shape: tuple[int, ...], diffusers_shape: tuple[int, ...] | None = None) -> Iterator[Entry]:
    yield Entry(f"{ldm}.weight", f"{diffusers}.weight", shape, diffusers_shape or shape)
    yield Entry(f"{ldm}.bias", f"{diffusers}.bias", shape[:1], shape[:1])


def _conv(ldm: str, diffusers: str, channels: int, out: int, kernel: int) -> Iterator[Entry]:
    return _pair(ldm, diffusers, (out, channels, kernel, kernel))


def _norm(ldm: str, diffusers: str, channels: int) -> Iterator[Entry]:
    return _pair(ldm, diffusers, (channels,))


def _resnet(ldm: str, diffusers: str, channels: int, out: int) -> Iterator[Entry]:
    yield from _norm(f"{ldm}.norm1", f"{diffusers}.norm1", channels)
    yield from _conv(f"{ldm}.conv1", f"{diffusers}.conv1", channels, out, 3)
    yield from _norm(f"{ldm}.norm2", f"{diffusers}.norm2", out)
    yield from _conv(f"{ldm}.conv2", f"{diffusers}.conv2", out, out, 3)
    if channels != out:
        yield from _conv(f"{ldm}.nin_shortcut", f"{diffusers}.conv_shortcut", channels, out, 1)


def _temporal_resnet(ldm: str, diffusers: str, channels: int, out: int) -> Iterator[Entry]:
    yield from _resnet(ldm, f"{diffusers}.spatial_res_block", channels, out)
    time = (
        (".in_layers.0", ".norm1", False),
        (".in_layers.2", ".conv1", True),
        (".out_layers.0", ".norm2", False),
        (".out_layers.3", ".conv2", True),
    )
    for place, name, is_conv in time:
        yield from _pair(f"{ldm}.time_stack{place}", f"{diffusers}.temporal_res_block{name}", (out, out, 3, 1, 1) if is_conv else (out,))
    yield Entry(f"{ldm}.mix_factor", f"{diffusers}.time_mixer.mix_factor", (1,), (1,))


def _middle(side: str, width: int, resnet: Callable[[str, str, int, int], Iterator[Entry]]) -> Iterator[Entry]:
    ldm, diffusers = f"{side}.mid", f"{side}.mid_block"
    yield from resnet(f"{ldm}.block_1", f"{diffusers}.resnets.0", width, width)
    yield from _norm(f"{ldm}.attn_1.norm", f"{diffusers}.attentions.0.group_norm", width)
    for place, name in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
        yield from _pair(f"{ldm}.attn_1.{place}", f"{diffusers}.attentions.0.{name}", (width, width, 1, 1), (width, width))
    yield from resnet(f"{ldm}.block_2", f"{diffusers}.resnets.1", width, width)
