"""The denoising UNet of Animate Anyone (paper sec. 3): SD1.5's, frame by frame, with a motion module after every block.

Its self-attention also sees the tokens of the reference picture, its text attention the picture's CLIP embedding, and the
features of the poses are added after the first convolution.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..sd_unet.attention import Attention
from ..sd_unet.blocks import ResBlock
from ..sd_unet.embeddings import sinusoid
from ..sd_unet.patches import Control
from ..sd_unet.step import Step
from ..sd_unet.unet import Layers, SDUNet, begin, embedding, head, patch_embedding
from .attention import Guides, TransformerBlock
from .config import AnimateAnyoneConfig
from .motion import MotionModule, ResBlockInTime, SpatialTransformerInTime
from .pose_guider import PoseGuider


@dataclass(frozen=True)
class LayersInTime(Layers):
    """The last layer of a place is followed by a motion module: a transformer, or a ResBlock where there is none."""

    res_block_in_time: Callable[[int, int], nn.Module]

    def of(self, channels: int, out: int, depth: int) -> list[nn.Module]:
        return super().of(channels, out, depth) if depth else [self.res_block_in_time(channels, out)]


class AnimateAnyoneUNet(SDUNet):
    """See the module. `attention` and `operations` are injected; `torch.nn` serves as `operations` outside ComfyUI."""

    def __init__(self, config: AnimateAnyoneConfig, *, attention: Attention, dtype, device, operations) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        factory = {"dtype": dtype, "device": device, "operations": operations}
        emb_dim = config.model_channels * 4

        def motion(channels: int) -> MotionModule:
            return MotionModule(channels, config.motion_heads, config.positions, attention=attention, **factory)

        def res_block(channels: int, out: int) -> nn.Module:
            return ResBlock(channels, out, emb_dim, **factory)

        def res_block_in_time(channels: int, out: int) -> nn.Module:
            return ResBlockInTime(channels, out, emb_dim, motion=motion(out), **factory)

        def transformers(channels: int, depth: int) -> list[nn.Module]:
            def block() -> nn.Module:
                return TransformerBlock(channels, config.context_dim, config.num_heads, attention=attention, **factory)

            return [SpatialTransformerInTime(channels, depth, block, motion=motion(channels), **factory)]

        self.time_embed = embedding(config.model_channels, emb_dim, **factory)
        self.add_blocks(config, LayersInTime(res_block, transformers, res_block_in_time), **factory)
        self.out = head(config.model_channels, config.out_channels, **factory)
        self.pose_guiders = nn.ModuleList(
            PoseGuider(config.pose_channels, config.model_channels, **factory) for _ in range(config.pose_guiders)
        )

    def guide(self, poses: list[Tensor]) -> Tensor:
        """Features [b * f, model_channels, h, w] of pose pictures, RGB in 0..1 [b * f, 3, 8h, 8w] for each Pose Guider."""
        features = [guider(pictures) for guider, pictures in zip(self.pose_guiders, poses, strict=True)]
        return sum(features[1:], start=features[0])

    def first_layers(self, x: Tensor, step: Step) -> Tensor:
        h = super().first_layers(x, step)
        return h if step.extras.pose is None else h + step.extras.pose

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        image_embeds: Tensor,
        guides: Guides,
        control: Control | None = None,
        transformer_options: dict = {},
    ) -> Tensor:
        """Predict v of noisy frames.

        x: [b * f, c, h, w], frames of a clip together; timesteps: [b * f]; image_embeds: the picture's CLIP embedding [b, 1, d], zeros for
        a prediction without it. Returns [b * f, c, h, w].
        """
        begin(transformer_options, x)
        frames = x.shape[0] // image_embeds.shape[0]

        emb = self.time_embed(sinusoid(timesteps[::frames], self.config.model_channels).to(x.dtype))
        emb = patch_embedding(emb, self.config.model_channels, transformer_options)

        h = self.walk(x, timesteps, Step(frames, emb, image_embeds, transformer_options, extras=guides), control)
        return self.out(h)
