"""The DynamiCrafter UNet (arXiv 2310.12190, sec. 3; VideoCrafter1's, arXiv 2310.19512).

SD2.1's UNet frame by frame, with convolutions over time in every ResBlock, a transformer over time after every spatial
one, a second set of keys and values for image tokens, and an embedding of the frame stride or rate.
"""

from torch import Tensor, nn

from ..sd_unet.attention import Attention
from ..sd_unet.embeddings import sinusoid
from ..sd_unet.patches import Control
from ..sd_unet.step import Step
from ..sd_unet.unet import Layers, SDUNet, begin, embedding, head, patch_embedding
from .attention import TemporalTransformer, TransformerBlock
from .blocks import SpatioTemporalTransformer, TemporalResBlock
from .config import FIRST_ATTENTION_HEADS, DynamiCrafterConfig
from .resampler import Resampler


class DynamiCrafterUNet(SDUNet):
    """See the module. `attention` and `operations` are injected; `torch.nn` serves as `operations` outside ComfyUI."""

    def __init__(self, config: DynamiCrafterConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        factory = {"dtype": dtype, "device": device, "operations": operations}
        width, emb_dim = config.model_channels, config.model_channels * 4

        def res_block(channels: int, out: int) -> nn.Module:
            return TemporalResBlock(channels, out, emb_dim, **factory)

        def transformers(channels: int, depth: int) -> list[nn.Module]:
            heads = channels // config.num_head_channels

            def block() -> nn.Module:
                return TransformerBlock(channels, config.context_dim, heads, gated=config.gated, attention=attention, **factory)

            temporal = TemporalTransformer(channels, channels, heads, depth, attention=attention, **factory)
            return [SpatioTemporalTransformer(channels, depth, block, temporal, **factory)]

        self.time_embed = embedding(width, emb_dim, **factory)
        self.fps_embedding = embedding(width, emb_dim, **factory)
        self.add_blocks(config, Layers(res_block, transformers), **factory)
        inner = FIRST_ATTENTION_HEADS * config.num_head_channels
        first = TemporalTransformer(width, inner, FIRST_ATTENTION_HEADS, 1, first=True, attention=attention, **factory)
        self.init_attn = nn.ModuleList([first])
        self.out = head(width, config.out_channels, **factory)
        if config.projector:
            self.image_proj_model = Resampler(config.projector, attention=attention, **factory)

    def first_layers(self, x: Tensor, step: Step) -> Tensor:
        return self.init_attn[0](super().first_layers(x, step), step)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        text: Tensor,
        image: Tensor | None,
        fs: Tensor,
        control: Control | None = None,
        transformer_options: dict = {},
    ) -> Tensor:
        """Predict noise, or v, of noisy frames with the image's latent after them on channels.

        x: [b * f, 2 * c, h, w], frames of a clip together; timesteps: [b * f]; text: [b, l, d] or [b * f, l, d]; image: tokens
        [b * f, l, d] of each frame's own, or [b, l, d] that all frames see, or None; fs: frame stride or frames per second [b].
        Returns [b * f, c, h, w].
        """
        begin(transformer_options, x)
        frames = x.shape[0] // fs.shape[0]

        emb = self.time_embed(sinusoid(timesteps[::frames], self.config.model_channels).to(x.dtype))
        emb = patch_embedding(emb, self.config.model_channels, transformer_options)
        emb = emb + self.fps_embedding(sinusoid(fs, self.config.model_channels).to(x.dtype))

        h = self.walk(x, timesteps, Step(frames, emb, text, transformer_options, extras=image), control)
        return self.out(h)
