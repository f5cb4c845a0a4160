"""The Cinemo UNet (arXiv 2407.15642, sec. 3): predicts the noise of motion residuals.

SD-1.x's UNet, frame by frame, with temporal attention in every transformer block, norms that span a clip in the ResBlocks,
and a motion embedding added to the time embedding.
"""

from torch import Tensor, nn

from ..sd_unet.attention import Attention
from ..sd_unet.blocks import ResBlock, SpatialTransformer, normalise_clip
from ..sd_unet.embeddings import sinusoid
from ..sd_unet.patches import Control
from ..sd_unet.step import Step
from ..sd_unet.unet import Layers, SDUNet, begin, embedding, head, patch_embedding
from .attention import TransformerBlock
from .config import CinemoConfig
from .positions import temporal_positions


class ClipResBlock(ResBlock):
    """A ResBlock whose norms span the clip."""

    def normalise(self, norm: nn.Module, x: Tensor, step: Step) -> Tensor:
        return normalise_clip(norm, x, step.frames)


class CinemoUNet(SDUNet):
    """See the module. `attention` and `operations` are injected; `torch.nn` serves as `operations` outside ComfyUI."""

    def __init__(self, config: CinemoConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        factory = {"dtype": dtype, "device": device, "operations": operations}
        emb_dim = config.model_channels * 4

        def res_block(channels: int, out: int) -> nn.Module:
            return ClipResBlock(channels, out, emb_dim, **factory)

        def transformers(channels: int, depth: int) -> list[nn.Module]:
            def block() -> nn.Module:
                return TransformerBlock(channels, config.context_dim, config.num_heads, attention=attention, **factory)

            return [SpatialTransformer(channels, depth, block, **factory)]

        self.time_embed = embedding(config.model_channels, emb_dim, **factory)
        self.motion_embed = embedding(config.motion_dim, emb_dim, **factory)
        self.add_blocks(config, Layers(res_block, transformers), **factory)
        self.out = head(config.model_channels, config.out_channels, **factory)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        motion_ids: Tensor,
        control: Control | None = None,
        transformer_options: dict = {},
    ) -> Tensor:
        """Predict the noise of X_t (paper sec. 3.1): frame 0 of each clip is z0 itself, the others z0 plus noisy residual.

        x: [b * f, c, h, w], frames of a clip together; timesteps: [b * f]; context: [b, l, d] or, a text per frame,
        [b * f, l, d]; motion_ids: [b]. Returns [b * f, c, h, w]; what it holds for frame 0 has no meaning.
        """
        begin(transformer_options, x)
        frames = x.shape[0] // motion_ids.shape[0]

        emb = self.time_embed(sinusoid(timesteps[::frames], self.config.model_channels).to(x.dtype))
        emb = patch_embedding(emb, self.config.model_channels, transformer_options)
        emb = emb + self.motion_embed(sinusoid(motion_ids, self.config.motion_dim).to(x.dtype))
        positions = temporal_positions(frames, self.config.head_dims, x.dtype, x.device)

        step = Step(frames, emb, context, transformer_options, extras=positions)
        h = self.walk(x, timesteps, step, control)
        return self.out[1:](normalise_clip(self.out[0], h, frames))
