"""What the contract of families needs of Cinemo: a small configuration, its weights, a conditioning, and what it can do."""

import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, ClipCondition, attach_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.inversion import invert_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import REFERENCE_SCHEDULER, Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.cinemo.family import CINEMO
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.tests.comfy.families import walks
from cinemo_pack.tests.comfy.families.walks import CFG, FRAMES, HEIGHT, WIDTH, Setting, Walk
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


def condition(frames: int, height: int, width: int, device: torch.device | str = "cpu") -> tuple[list, list]:
    generator = torch.Generator().manual_seed(5)
    z0 = torch.randn(1, CONFIG.in_channels, height, width, generator=generator)
    positive, negative = torch.randn(2, 1, 7, CONFIG.context_dim, generator=generator)
    return attach_clip(ClipCondition(z0.to(device), 90.0, frames), [[positive, {}]], [[negative, {}]])


def stock_sampling(model, setting: Setting) -> torch.Tensor:
    return walks.stock_sampling(model, *condition(FRAMES, HEIGHT, WIDTH, setting.device), setting)


def residual_sampling(model, setting: Setting, noise=None) -> torch.Tensor:
    positive, negative = condition(FRAMES, HEIGHT, WIDTH, setting.device)
    sampling = Sampling(seed=1, steps=setting.steps, cfg=CFG, sampler_name="ddim", scheduler=REFERENCE_SCHEDULER)
    frames, _ = sample_clip(model, positive, negative, {"samples": clip(setting, 0.0)}, sampling, noise)
    return frames["samples"]


def dctinit(model, setting: Setting) -> torch.Tensor:
    noise = DCTInitNoise(clip(setting, 0.0), random_noise(1), LowPass(0.3, 975))
    return residual_sampling(model, setting, noise)


def inversion(model, setting: Setting) -> torch.Tensor:
    """Of a clip that moves, sampled back from the noise that is found."""
    positive, negative = condition(FRAMES, HEIGHT, WIDTH, setting.device)
    return residual_sampling(model, setting, invert_clip(model, positive, negative, clip(setting, 0.3), setting.steps, CFG))


def clip(setting: Setting, motion: float) -> torch.Tensor:
    """The latent of a clip whose frame 0 is the z0 of `condition`."""
    z0 = condition(FRAMES, HEIGHT, WIDTH)[0][0][1][CLIP_KEY].z0
    moved = z0 + motion * walks.noise()
    return torch.cat([z0, moved[1:]]).to(setting.device)


WALKS: dict[str, Walk] = {
    "stock sampling": stock_sampling,
    "residual sampling": residual_sampling,
    "DCTInit": dctinit,
    "inversion": inversion,
}
