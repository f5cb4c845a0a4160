"""What the contract of families needs of DynamiCrafter: a small configuration, its weights, a conditioning."""

import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.conditioning import IMAGE_KEY, ImageCondition, attach_image
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.guidance import Guidance, with_rescale
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
from cinemo_pack.cinemo_core.models.dynamicrafter.resampler import ResamplerConfig
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.tests.comfy.families import walks
from cinemo_pack.tests.comfy.families.walks import CFG, FRAMES, HEIGHT, WIDTH, Setting, Walk
from cinemo_pack.tests.drawn import draw

CONFIG = DynamiCrafterConfig(
    in_channels=8,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 0, 0),
    context_dim=24,
    num_head_channels=16,
    gated=False,
    projector=ResamplerConfig(image_dim=20, dim=32, inner=64, hidden=48, output_dim=24, queries=32, depth=1),
    variant="512",
)
TOWER_TOKENS = 10


def weights() -> dict[str, torch.Tensor]:
    return {name: draw(name, shape) for name, shape in DYNAMICRAFTER.shapes(CONFIG).items()}


def condition(frames: int, height: int, width: int, device: torch.device | str = "cpu") -> tuple[list, list]:
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(1, 4, height, width, generator=generator).expand(frames, -1, -1, -1)
    towers = torch.randn(2, 1, TOWER_TOKENS, CONFIG.projector.image_dim, generator=generator)
    texts = torch.randn(2, 1, 7, CONFIG.context_dim, generator=generator)
    images = [ImageCondition(latents.to(device), tower.to(device), 24) for tower in towers]
    positive, negative = (attach_image(image, [[text, {}]])[0] for image, text in zip(images, texts, strict=True))
    return positive, negative


def stock_sampling(model, setting: Setting) -> torch.Tensor:
    return walks.stock_sampling(model, *condition(FRAMES, HEIGHT, WIDTH, setting.device), setting)


def rescaled_stock_sampling(model, setting: Setting) -> torch.Tensor:
    return stock_sampling(with_rescale(model, 0.7), setting)


def authors_sampling(model, setting: Setting, noise=None) -> torch.Tensor:
    """By text and image apart, without fresh noise, which is another on every kind of device."""
    positive, negative = condition(FRAMES, HEIGHT, WIDTH, setting.device)
    latent = torch.zeros(FRAMES, 4, HEIGHT, WIDTH, device=setting.device)
    sampling = Sampling(seed=1, steps=setting.steps, eta=0.0, reference_brightness=True, guidance=Guidance(CFG, image=2.0))
    return sample_clip(model, positive, negative, {"samples": latent}, sampling, noise)["samples"]


def dctinit(model, setting: Setting) -> torch.Tensor:
    image = condition(FRAMES, HEIGHT, WIDTH, setting.device)[0][0][1][IMAGE_KEY].latents
    return authors_sampling(model, setting, DCTInitNoise(image, random_noise(1), LowPass(0.3, 975)))


WALKS: dict[str, Walk] = {
    "stock sampling": stock_sampling,
    "stock sampling, rescaled": rescaled_stock_sampling,
    "the authors' sampling": authors_sampling,
    "DCTInit": dctinit,
}
