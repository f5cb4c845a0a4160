"""Keeps in float32, where the rest trains in bfloat16, what that would round too coarsely."""

from typing import Any

import torch
from torch import Tensor

from ...models.sd_unet.blocks import ResBlock
from .pass_through import holds_values


def keep_exact(unet: Any) -> None:
    """Of a UNet that trains under autocast: the embeddings, off which the noise level is read, and every block with held constants."""
    embeddings = [unet.time_embed, unet.motion_embed, *(m.emb_layers for m in unet.modules() if isinstance(m, ResBlock))]
    blocks = [layer for block in (*unet.input_blocks, *unet.output_blocks, unet.out) for layer in block.children()]
    for layer in [*embeddings, *(block for block in blocks if any(map(holds_values, block.parameters())))]:
        layer.forward = exactly(layer.forward)


def exactly(forward: Any) -> Any:
    def run(x: Tensor, *rest: Any) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float(), *rest)

    return run
