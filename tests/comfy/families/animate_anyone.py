"""What the contract of families needs of Animate Anyone: a small configuration, its weights, a conditioning."""

import comfy.sample
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone import sampling
from cinemo_pack.cinemo_core.comfyui.animate_anyone.conditioning import FigureCondition, attach_figure
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.tests.comfy.families import walks
from cinemo_pack.tests.comfy.families.walks import FRAMES, HEIGHT, WIDTH, Setting, Walk
from cinemo_pack.tests.drawn import draw

CONFIG = AnimateAnyoneConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 0, 0),
    context_dim=24,
    pose_channels=(4, 8, 12, 16),
    positions=8,
)
REFERENCE_TOKENS = {("input", 1): (40, 64), ("middle", 0): (10, 96), ("output", 2): (40, 64), ("output", 3): (40, 64)}


def weights() -> dict[str, torch.Tensor]:
    return {name: draw(name, shape) for name, shape in ANIMATE_ANYONE.shapes(CONFIG).items()}


def condition(frames: int, height: int, width: int, device: torch.device | str = "cpu") -> tuple[list, list]:
    """The positive has the bank of a picture of another size."""
    generator = torch.Generator().manual_seed(5)
    poses = torch.randint(0, 256, (1, frames, 3, 8 * height, 8 * width), dtype=torch.uint8, generator=generator).to(device)
    bank = {block: torch.randn(1, *shape, generator=generator).to(device) for block, shape in REFERENCE_TOKENS.items()}
    embeds = torch.randn(1, 1, CONFIG.context_dim, generator=generator)
    (positive,) = attach_figure(FigureCondition(poses, bank), [[embeds, {}]])
    (negative,) = attach_figure(FigureCondition(poses), [[torch.zeros_like(embeds), {}]])
    return positive, negative


def stock_sampling(model, setting: Setting) -> torch.Tensor:
    return walks.stock_sampling(model, *condition(FRAMES, HEIGHT, WIDTH, setting.device), setting)


def reference_sampling(model, setting: Setting) -> torch.Tensor:
    """With the sampler of the recorded pipeline. ComfyUI's context windows wait for the GPU at each step themselves."""
    sampler, sigmas = sampling.reference_sampling(model, setting.steps)
    latent = torch.zeros(FRAMES, 4, HEIGHT, WIDTH, device=setting.device)
    positive, negative = (walks.placed(part, setting.device) for part in condition(FRAMES, HEIGHT, WIDTH, setting.device))
    return comfy.sample.sample_custom(model, walks.noise(), walks.CFG, sampler, sigmas, positive, negative, latent, seed=1)


WALKS: dict[str, Walk] = {"stock sampling": stock_sampling, "reference sampling": reference_sampling}
