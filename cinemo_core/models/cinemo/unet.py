"""The Cinemo UNet (arXiv 2407.15642, sec. 3): predicts the noise of motion residuals.

SD-1.x's UNet, frame by frame, with temporal attention in every transformer block and a motion embedding added to the time
embedding. Module names are SD1.x's LDM names, so that ComfyUI's LoRA map and patches find them.
"""

import torch
from torch import Tensor, nn

from .attention import Attention
from .blocks import Downsample, ResBlock, SpatioTemporalTransformer, Upsample, normalise_clip
from .config import NORM_GROUPS, CinemoConfig
from .embeddings import TemporalPositions, sinusoid, temporal_positions


class CinemoUNet(nn.Module):
    """See the module. `attention` and `operations` are injected; `torch.nn` serves as `operations` outside ComfyUI."""

    def __init__(self, config: CinemoConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        factory = {"dtype": dtype, "device": device}
        layer = factory | {"operations": operations}
        emb_dim = config.model_channels * 4

        def transformer(channels: int, depth: int) -> SpatioTemporalTransformer:
            return SpatioTemporalTransformer(channels, config.context_dim, config.num_heads, depth, attention=attention, **layer)

        def mlp(dim: int) -> nn.Sequential:
            return nn.Sequential(operations.Linear(dim, emb_dim, **factory), nn.SiLU(), operations.Linear(emb_dim, emb_dim, **factory))

        self.time_embed = mlp(config.model_channels)
        self.motion_embed = mlp(config.motion_dim)

        width = config.model_channels
        self.input_blocks = nn.ModuleList([nn.ModuleList([operations.Conv2d(config.in_channels, width, 3, padding=1, **factory)])])
        skips = [width]
        depths = iter(config.transformer_depth)
        for level, (count, out) in enumerate(zip(config.num_res_blocks, config.widths, strict=True)):
            if level:
                self.input_blocks.append(nn.ModuleList([Downsample(width, **layer)]))
                skips.append(width)
            for _ in range(count):
                block = nn.ModuleList([ResBlock(width, out, emb_dim, **layer)])
                if depth := next(depths):
                    block.append(transformer(out, depth))
                self.input_blocks.append(block)
                width = out
                skips.append(width)

        self.middle_block = nn.ModuleList([ResBlock(width, width, emb_dim, **layer)])
        if config.transformer_depth_middle:
            self.middle_block.append(transformer(width, config.transformer_depth_middle))
        self.middle_block.append(ResBlock(width, width, emb_dim, **layer))

        self.output_blocks = nn.ModuleList()
        depths = reversed(config.transformer_depth_output)
        for level, (count, out) in reversed(list(enumerate(zip(config.num_res_blocks, config.widths, strict=True)))):
            for i in range(count + 1):
                block = nn.ModuleList([ResBlock(width + skips.pop(), out, emb_dim, **layer)])
                if depth := next(depths):
                    block.append(transformer(out, depth))
                width = out
                if level and i == count:
                    block.append(Upsample(width, **layer))
                self.output_blocks.append(block)

        self.out = nn.Sequential(
            operations.GroupNorm(NORM_GROUPS, width, eps=1e-5, **factory),
            nn.SiLU(inplace=True),
            operations.Conv2d(width, config.out_channels, 3, padding=1, **factory),
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        motion_ids: Tensor,
        control: dict[str, list[Tensor | None]] | None = None,
        transformer_options: dict = {},
    ) -> Tensor:
        """Predict the noise of X_t (paper sec. 3.1): frame 0 of each clip is z0 itself, the others z0 plus noisy residual.

        x: [b * f, c, h, w], frames of a clip together; timesteps: [b * f]; context: [b, l, d] or, a text per frame,
        [b * f, l, d]; motion_ids: [b]. Returns [b * f, c, h, w]; what it holds for frame 0 has no meaning.
        """
        patches = transformer_options.get("patches", {})
        transformer_options["original_shape"] = list(x.shape)
        transformer_options["transformer_index"] = 0
        frames = x.shape[0] // motion_ids.shape[0]
        positions = temporal_positions(frames, (width // self.config.num_heads for width in self.config.widths), x.dtype, x.device)

        emb = self.time_embed(sinusoid(timesteps[::frames], self.config.model_channels).to(x.dtype))
        for patch in patches.get("emb_patch", ()):
            emb = patch(emb, self.config.model_channels, transformer_options)
        emb = emb + self.motion_embed(sinusoid(motion_ids, self.config.motion_dim).to(x.dtype))

        h = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for i, block in enumerate(self.input_blocks):
            transformer_options["block"] = ("input", i)
            for layer in block.children():
                h = run_layer(layer, h, emb, context, positions, transformer_options)
            h = add_control(h, control, "input")
            for patch in patches.get("input_block_patch", ()):
                h = patch(h, transformer_options)
            skips.append(h)
            for patch in patches.get("input_block_patch_after_skip", ()):
                h = patch(h, transformer_options)

        transformer_options["block"] = ("middle", 0)
        for layer in self.middle_block.children():
            h = run_layer(layer, h, emb, context, positions, transformer_options)
        h = add_control(h, control, "middle")
        for patch in patches.get("middle_block_after_patch", ()):
            seen = {"h": h, "x": x, "emb": emb, "context": context, "y": None, "timesteps": timesteps}
            h = patch(seen | {"transformer_options": transformer_options})["h"]

        for i, block in enumerate(self.output_blocks):
            transformer_options["block"] = ("output", i)
            skip = add_control(skips.pop(), control, "output")
            for patch in patches.get("output_block_patch", ()):
                h, skip = patch(h, skip, transformer_options)
            size = list(skips[-1].shape[-2:]) if skips else None
            h = torch.cat([h, skip], dim=1)
            del skip
            for layer in block.children():
                h = run_layer(layer, h, emb, context, positions, transformer_options, size)

        return self.out[1:](normalise_clip(self.out[0], h, frames))


def run_layer(
    layer: nn.Module,
    x: Tensor,
    emb: Tensor,
    context: Tensor,
    positions: TemporalPositions,
    transformer_options: dict,
    size: list[int] | None = None,
) -> Tensor:
    """Run one layer of a UNet block, giving it what it takes."""
    if isinstance(layer, ResBlock):
        return layer(x, emb, len(positions.buckets))
    if isinstance(layer, SpatioTemporalTransformer):
        x = layer(x, context, positions, transformer_options)
        transformer_options["transformer_index"] += 1
        return x
    if isinstance(layer, Upsample):
        return layer(x, size)
    return layer(x)


def add_control(x: Tensor, control: dict[str, list[Tensor | None]] | None, place: str) -> Tensor:
    """Add the next ControlNet residual for this place, taken from the end of its list as ComfyUI's UNet does."""
    if control and control.get(place):
        residual = control[place].pop()
        if residual is not None:
            x = x + residual
    return x
