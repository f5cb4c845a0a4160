"""ReferenceNet (paper sec. 3.2): SD1.5's UNet sees the clean reference picture once, and what its self-attention sees is kept."""

import torch
from torch import Tensor, nn

from ..sd_unet.attention import Attention
from ..sd_unet.blocks import ResBlock, SpatialTransformer
from ..sd_unet.embeddings import sinusoid
from ..sd_unet.step import Step
from ..sd_unet.unet import Layers, SDUNet, begin, embedding
from .attention import Bank, Guides, TransformerBlock
from .config import AnimateAnyoneConfig


class ReferenceNet(SDUNet):
    """See the module. It has no head: its output is not used."""

    def __init__(self, config: AnimateAnyoneConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        factory = {"dtype": dtype, "device": device, "operations": operations}
        emb_dim = config.model_channels * 4

        def res_block(channels: int, out: int) -> nn.Module:
            return ResBlock(channels, out, emb_dim, **factory)

        def transformers(channels: int, depth: int) -> list[nn.Module]:
            def block() -> nn.Module:
                return TransformerBlock(channels, config.context_dim, config.num_heads, attention=attention, **factory)

            return [SpatialTransformer(channels, depth, block, **factory)]

        self.time_embed = embedding(config.model_channels, emb_dim, **factory)
        self.add_blocks(config, Layers(res_block, transformers), **factory)

    def forward(self, latent: Tensor, image_embeds: Tensor) -> Bank:
        """latent: of the picture, as the network's [b, 4, h, w]; image_embeds: [b, 1, d]. Returns tokens [b, h' * w', d] by block."""
        bank: dict[tuple[str, int], Tensor] = {}

        def keep(n: Tensor, context: Tensor, value: Tensor, seen: dict) -> tuple[Tensor, Tensor, Tensor]:
            bank[seen["block"]] = n
            return n, context, value

        options = {"patches": {"attn1_patch": [keep]}}
        begin(options, latent)
        timesteps = torch.zeros(latent.shape[0], device=latent.device)
        emb = self.time_embed(sinusoid(timesteps, self.config.model_channels).to(latent.dtype))
        self.walk(latent, timesteps, Step(1, emb, image_embeds, options, extras=Guides()), None)
        return bank
