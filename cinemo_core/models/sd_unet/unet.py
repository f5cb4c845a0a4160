"""Stable Diffusion's UNet as a frame: encoder, middle and decoder under LDM names, and the walk over them with ComfyUI's patches.

A family gives the layers; the module names are SD1.x's, so that ComfyUI's LoRA map and patches find them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import Downsample, Upsample
from .config import NORM_GROUPS, UNetConfig
from .patches import Control, add_control, patch_maps, patches
from .step import Step


@dataclass(frozen=True)
class Layers:
    """What a family builds its blocks from: a ResBlock for (channels in, out), and the layers after it for (channels, depth)."""

    res_block: Callable[[int, int], nn.Module]
    transformers: Callable[[int, int], list[nn.Module]]

    def of(self, channels: int, out: int, depth: int) -> list[nn.Module]:
        """A ResBlock and what follows it."""
        return [self.res_block(channels, out), *(self.transformers(out, depth) if depth else [])]


class Block(nn.ModuleList):
    """Layers, one after the other."""

    def forward(self, h: Tensor, step: Step) -> Tensor:
        for layer in self:
            h = layer(h, step)
        return h


class SDUNet(nn.Module):
    """The blocks and the walk. A family's network adds its embeddings and its head, and its `forward` joins them."""

    def add_blocks(self, config: UNetConfig, layers: Layers, *, dtype, device, operations) -> None:
        layer = {"dtype": dtype, "device": device, "operations": operations}
        width = config.model_channels
        first = operations.Conv2d(config.in_channels, width, 3, padding=1, dtype=dtype, device=device)
        self.input_blocks = nn.ModuleList([nn.ModuleList([first])])
        skips = [width]
        depths = iter(config.transformer_depth)
        for level, (count, out) in enumerate(zip(config.num_res_blocks, config.widths, strict=True)):
            if level:
                self.input_blocks.append(Block([Downsample(width, **layer)]))
                skips.append(width)
            for _ in range(count):
                self.input_blocks.append(Block(layers.of(width, out, next(depths))))
                width = out
                skips.append(width)

        middle = layers.of(width, width, config.transformer_depth_middle)
        self.middle_block = Block([*middle, layers.res_block(width, width)])

        self.output_blocks = nn.ModuleList()
        depths = reversed(config.transformer_depth_output)
        for level, (count, out) in reversed(list(enumerate(zip(config.num_res_blocks, config.widths, strict=True)))):
            for i in range(count + 1):
                block = Block(layers.of(width + skips.pop(), out, next(depths)))
                width = out
                if level and i == count:
                    block.append(Upsample(width, **layer))
                self.output_blocks.append(block)

    def first_layers(self, x: Tensor, step: Step) -> Tensor:
        """What turns the input into the first maps, which are the first skip."""
        return self.input_blocks[0][0](x.contiguous(memory_format=torch.channels_last))  # type: ignore[index]

    def walk(self, x: Tensor, timesteps: Tensor, step: Step, control: Control | None) -> Tensor:
        """Encoder, middle, decoder: [b * f, c, h, w] -> [b * f, model_channels, h, w]."""
        options = step.options
        skips = []
        h = x
        for i, block in enumerate(self.input_blocks):
            options["block"] = ("input", i)
            h = block(h, step) if i else self.first_layers(h, step)
            h = add_control(h, control, "input")
            h = patch_maps("input_block_patch", h, options)
            skips.append(h)
            h = patch_maps("input_block_patch_after_skip", h, options)

        options["block"] = ("middle", 0)
        h = self.middle_block(h, step)
        h = add_control(h, control, "middle")
        for patch in patches(options, "middle_block_after_patch"):
            seen = {"h": h, "x": x, "emb": step.emb, "context": step.context, "y": None, "timesteps": timesteps}
            h = patch(seen | {"transformer_options": options})["h"]

        for i, block in enumerate(self.output_blocks):
            options["block"] = ("output", i)
            skip = add_control(skips.pop(), control, "output")
            for patch in patches(options, "output_block_patch"):
                h, skip = patch(h, skip, options)
            step.size = (skips[-1].shape[2], skips[-1].shape[3]) if skips else None
            h = torch.cat([h, skip], dim=1)
            del skip
            h = block(h, step)
        return h


def embedding(dim: int, emb_dim: int, *, dtype, device, operations) -> nn.Sequential:
    """The network that turns the sinusoid of a number into an embedding."""
    factory = {"dtype": dtype, "device": device}
    return nn.Sequential(operations.Linear(dim, emb_dim, **factory), nn.SiLU(), operations.Linear(emb_dim, emb_dim, **factory))


def head(channels: int, out_channels: int, *, dtype, device, operations) -> nn.Sequential:
    """Norm, SiLU and the last convolution."""
    factory = {"dtype": dtype, "device": device}
    return nn.Sequential(
        operations.GroupNorm(NORM_GROUPS, channels, eps=1e-5, **factory),
        nn.SiLU(inplace=True),
        operations.Conv2d(channels, out_channels, 3, padding=1, **factory),
    )


def begin(options: dict, x: Tensor) -> None:
    """Write what ComfyUI's UNet writes into the options at the start of an evaluation."""
    options["original_shape"] = list(x.shape)
    options["transformer_index"] = 0


def patch_embedding(emb: Tensor, channels: int, options: dict) -> Tensor:
    for patch in patches(options, "emb_patch"):
        emb = patch(emb, channels, options)
    return emb
