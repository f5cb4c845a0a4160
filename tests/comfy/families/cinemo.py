"""What the contract of families needs of Cinemo: a small configuration, its weights, a conditioning."""

import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import ClipCondition, attach_clip
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.cinemo.family import CINEMO
from cinemo_pack.tests.drawn import draw

CONFIG = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 0, 0),
    context_dim=24,
    num_heads=2,
    motion_dim=16,
)


def weights() -> dict[str, torch.Tensor]:
    return {name: draw(name, shape) for name, shape in CINEMO.shapes(CONFIG).items()}


def condition(frames: int, height: int, width: int) -> tuple[list, list]:
    generator = torch.Generator().manual_seed(5)
    z0 = torch.randn(1, CONFIG.in_channels, height, width, generator=generator)
    positive, negative = torch.randn(2, 1, 7, CONFIG.context_dim, generator=generator)
    return attach_clip(ClipCondition(z0, 90.0, frames), [[positive, {}]], [[negative, {}]])
