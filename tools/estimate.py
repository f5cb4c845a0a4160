"""Says beforehand about how long a CPU samples a clip: the network's arithmetic over the speed of this processor."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cinemo_core.files.checkpoint import read_shapes
from cinemo_core.files.folder import read_bundle
from cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_core.models.cinemo.family import CINEMO
from cinemo_core.models.cinemo.unet import CinemoUNet
from cinemo_core.models.recognise import recognise

TEXT_TOKENS = 77
CELL = 8  # pixels that a cell of the latent is wide
PROBE = (4, 320, 40, 64)  # four frames of 512x320 pixels on the widest level of the published network
PROBE_SECONDS = 1.0
EFFICIENCY = 0.7  # of the probe's speed; 8.1e12 operations took 49 s on two cores where the probe makes 231e9 a second


@dataclass(frozen=True)
class Sampling:
    """A clip in pixels, and how it is sampled."""

    width: int
    height: int
    frames: int
    steps: int
    cfg: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.frames} frames, {self.steps} steps, cfg {self.cfg:g}"

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated: at cfg 1 ComfyUI leaves the negative out."""
        return self.steps * (1 if self.cfg == 1 else 2)


def read_config(checkpoint: Path) -> CinemoConfig:
    """The UNet's sizes in a checkpoint folder. Raises CheckpointError where it holds no Cinemo UNet."""
    unet = read_bundle(checkpoint).unet
    shapes = read_shapes(unet)
    return recognise(unet, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, CINEMO).config


def seconds(config: CinemoConfig, sampling: Sampling, speed: float) -> float:
    """About how long sampling takes where a convolution runs at `speed`, in operations a second.

    Within a factor of two: large pictures take longer than that, because memory is slower than arithmetic.
    """
    return sampling.evaluations * operations(config, sampling) / (EFFICIENCY * speed)


def operations(config: CinemoConfig, sampling: Sampling) -> int:
    """Multiplications and additions of one evaluation on one clip, counted on tensors without data."""
    network = CinemoUNet(config, attention=attention, dtype=torch.float32, device="meta", operations=nn)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(
            torch.empty(sampling.frames, config.in_channels, sampling.height // CELL, sampling.width // CELL),
            torch.empty(sampling.frames),
            torch.empty(1, TEXT_TOKENS, config.context_dim),
            torch.empty(1),
        )
    return counter.get_total_flops()


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, transformer_options: dict = {}) -> Tensor:
    q, k, v = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def processor_speed() -> float:
    """Operations a second of a convolution as the network has them, on this processor as busy as it is now."""
    frames, channels, height, width = PROBE
    x = torch.ones(PROBE).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    F.conv2d(x, weight, padding=1)  # the first one also prepares
    runs, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < PROBE_SECONDS or not runs:
        F.conv2d(x, weight, padding=1)
        runs += 1
    return runs * 2 * 9 * channels * channels * frames * height * width / taken


def in_words(seconds: float) -> str:
    """A rough duration: "40 s", "12 min", "1 h 50 min"."""
    if seconds < 60:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60 // 10 * 10} min"
