"""What the tests of this folder need of a family: a small network of SD's proportions, and a clip that it can sample.

A test marked `every_family` runs with each of them, one marked `cinemo_and_dynamicrafter` with these; the others run with Cinemo.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.latent_formats
import comfy.sample
import comfy.samplers
import comfy.supported_models
import latent_preview
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone import sampling as animate_anyone
from cinemo_pack.cinemo_core.comfyui.animate_anyone.conditioning import FIGURE_KEY, FigureCondition
from cinemo_pack.cinemo_core.comfyui.cinemo import sampling as cinemo
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, ClipCondition
from cinemo_pack.cinemo_core.comfyui.description import FamilyDescription
from cinemo_pack.cinemo_core.comfyui.dynamicrafter import sampling as dynamicrafter
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.conditioning import IMAGE_KEY, ImageCondition
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.guidance import Guidance
from cinemo_pack.cinemo_core.comfyui.families import DESCRIPTIONS
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_pack.cinemo_core.models.sd_unet.config import UNetConfig
from cinemo_pack.tests.comfy.toolbox.files import (
    REAL_WIDTH,
    REAL_WIDTH_ANIMATE_ANYONE,
    REAL_WIDTH_DYNAMICRAFTER,
    SMALL,
    SMALL_ANIMATE_ANYONE,
    SMALL_DYNAMICRAFTER,
)

FRAMES, HEIGHT, WIDTH = 5, 8, 8
SCALE = comfy.latent_formats.SD15().scale_factor
TOWER_TOKENS = 10
BANK_TOKENS = 48  # of Animate Anyone's reference picture at the first level, 6x8 latents whatever the clip is
PUBLISHED = "the published code's"  # instead of a name of schedulers


@dataclass(frozen=True)
class Kit:
    """The tools of one family.

    config, real_width: a small network, and one whose first level is as wide as SD's. own_layers: of the small one, what SD lacks.
    options: what its conditioner adds to a conditioning for a network of these sizes, from the unscaled latent of an image [1, 4, h, w],
    the number of frames and a motion number. motions: two such numbers. sample: with the family's own sampler, from model, clip, LATENT,
    steps and a name of schedulers. pins_image: frame 0 is the image itself, whatever a node does to the prediction. rounding: bound of the
    relative error that rounding of weights makes in a few steps.
    without: what the negative has of the positive's options.
    stock, settings: ComfyUI's description of the SD that the family grew out of, and what it takes besides sizes.
    """

    config: UNetConfig
    real_width: UNetConfig
    own_layers: tuple[str, ...]
    options: Callable[[Any, torch.Tensor, int, float], dict]
    motions: tuple[float, float]
    sample: Callable[[Any, "Clip", dict, int, str], torch.Tensor]
    schedulers: tuple[str, ...]
    pins_image: bool
    rounding: float
    stock: type
    settings: dict = field(default_factory=dict)
    without: Callable[[dict], dict] = dict

    @property
    def description(self) -> type[FamilyDescription]:
        return next(description for description in DESCRIPTIONS if description.family.name == self.config.family)

    @property
    def moving(self) -> slice:
        """The frames that sampling changes."""
        return slice(1 if self.pins_image else 0, None)

    def bound(self, **of_family: float) -> float:
        """What a node must change at least, or may at most: the small networks answer it with different strength."""
        return of_family[self.config.family.lower().replace(" ", "_")]


@dataclass
class Clip:
    """A clip ready to sample: z0 [1, 4, h, w] in the network's scale, the still clip as a LATENT holds it, both conditionings."""

    kit: Kit
    z0: torch.Tensor
    samples: torch.Tensor
    positive: list
    negative: list

    @property
    def moving(self) -> slice:
        return self.kit.moving

    def with_positive(self, positive: list) -> "Clip":
        return replace(self, positive=positive)

    def check_image(self, frames: torch.Tensor, atol: float = 1e-4) -> None:
        """Where frame 0 is the image, it is."""
        if self.kit.pins_image:
            torch.testing.assert_close(frames[:1], self.z0, rtol=0, atol=atol)


def make_clip(
    frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, kit: Kit | None = None, config: UNetConfig | None = None
) -> Clip:
    """For a network of the kit, the small one if no `config` is given."""
    kit = kit or CINEMO
    config = config or kit.config
    generator = torch.Generator().manual_seed(3)
    z0 = torch.randn(1, 4, height, width, generator=generator)
    text, negative_text = torch.randn(2, 1, 9, config.context_dim, generator=generator)
    unscaled = z0 / SCALE
    options = kit.options(config, unscaled, frames, kit.motions[0])
    return Clip(kit, z0, unscaled.repeat(frames, 1, 1, 1), [[text, options]], [[negative_text, kit.without(options)]])


def cinemo_options(config: Any, image: torch.Tensor, frames: int, motion: float) -> dict:
    return {CLIP_KEY: ClipCondition(image, motion, frames)}


def cinemo_sample(model, clip: Clip, latent: dict, steps: int, scheduler: str) -> torch.Tensor:
    sampling = cinemo.Sampling(1, steps, 4.0, "ddim", scheduler)
    return cinemo.sample_clip(model, clip.positive, clip.negative, latent, sampling)[0]["samples"]


def dynamicrafter_options(config: DynamiCrafterConfig, image: torch.Tensor, frames: int, motion: float) -> dict:
    tower = torch.randn(1, TOWER_TOKENS, config.projector.image_dim, generator=torch.Generator().manual_seed(4))
    return {IMAGE_KEY: ImageCondition(image.repeat(frames, 1, 1, 1), tower, int(motion))}


def dynamicrafter_sample(model, clip: Clip, latent: dict, steps: int, scheduler: str) -> torch.Tensor:
    sampling = dynamicrafter.Sampling(1, steps, scheduler=scheduler, guidance=Guidance(4.0))
    return dynamicrafter.sample_clip(model, clip.positive, clip.negative, latent, sampling)["samples"]


def animate_anyone_options(config: AnimateAnyoneConfig, image: torch.Tensor, frames: int, motion: float) -> dict:
    """Poses that go with the image, so that a part of it has that part of them, and a bank; another motion is one of another character."""
    generator = torch.Generator().manual_seed(int(motion))
    shades = torch.rand(frames, 3, 1, 1, generator=generator) * motion
    poses = (torch.sigmoid(image[:, :3] * SCALE + shades) * 255).to(torch.uint8)
    poses = poses.repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2)
    bank = {
        block: torch.randn(1, BANK_TOKENS >> 2 * level, config.widths[level], generator=generator)
        for block, level in zip(config.attending_blocks, attending_levels(config), strict=True)
    }
    return {FIGURE_KEY: FigureCondition(poses[None], bank)}


def attending_levels(config: AnimateAnyoneConfig) -> list[int]:
    """The level of the UNet that each of its attending blocks is on."""
    encoder = [level for level, count in enumerate(config.num_res_blocks) for _ in range(count)]
    decoder = [level for level, count in reversed(list(enumerate(config.num_res_blocks))) for _ in range(count + 1)]
    levels = [level for level, depth in zip(encoder, config.transformer_depth, strict=True) if depth]
    levels += [len(config.widths) - 1] * config.transformer_depth_middle
    return levels + [level for level, depth in zip(decoder, reversed(config.transformer_depth_output), strict=True) if depth]


def without_bank(options: dict) -> dict:
    return options | {FIGURE_KEY: FigureCondition(options[FIGURE_KEY].poses)}


def animate_anyone_sample(model, clip: Clip, latent: dict, steps: int, scheduler: str) -> torch.Tensor:
    if scheduler == PUBLISHED:
        sampler, sigmas = animate_anyone.reference_sampling(model, steps)
    else:
        sampler = comfy.samplers.sampler_object("euler")
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
    samples, conditionings = latent["samples"], (clip.positive, clip.negative)
    noise, mask = comfy.sample.prepare_noise(samples, 1), latent.get("noise_mask")
    shown = latent_preview.prepare_callback(model, len(sigmas) - 1)
    return comfy.sample.sample_custom(model, noise, 4.0, sampler, sigmas, *conditionings, samples, mask, shown, seed=1)


CINEMO = Kit(
    config=SMALL,
    real_width=REAL_WIDTH,
    own_layers=(
        "input_blocks.1.1.transformer_blocks.0.attn_temp.to_q",
        "middle_block.1.transformer_blocks.0.attn_temp.to_out.0",
        "motion_embed.0",
    ),
    options=cinemo_options,
    motions=(90.0, 80.0),
    sample=cinemo_sample,
    schedulers=(cinemo.REFERENCE_SCHEDULER, "karras"),
    pins_image=True,
    rounding=1e-5,
    stock=comfy.supported_models.SD15,
)
DYNAMICRAFTER = Kit(
    config=SMALL_DYNAMICRAFTER,
    real_width=REAL_WIDTH_DYNAMICRAFTER,
    own_layers=(
        "input_blocks.1.1.temporal.transformer_blocks.0.attn1.to_q",
        "middle_block.1.transformer_blocks.0.attn2.to_k_ip",
        "output_blocks.2.0.temopral_conv.conv1.2",
        "fps_embedding.0",
    ),
    options=dynamicrafter_options,
    motions=(24, 5),
    sample=dynamicrafter_sample,
    schedulers=(dynamicrafter.REFERENCE, "karras"),
    pins_image=False,
    rounding=1e-4,
    stock=comfy.supported_models.SD20,
    settings={"use_linear_in_transformer": True},
)
ANIMATE_ANYONE = Kit(
    config=SMALL_ANIMATE_ANYONE,
    real_width=REAL_WIDTH_ANIMATE_ANYONE,
    own_layers=(
        "input_blocks.1.1.motion.transformer_blocks.0.attention_blocks.0.to_q",
        "middle_block.1.motion.transformer_blocks.0.attention_blocks.1.to_out.0",
        "output_blocks.2.1.motion.proj_out",
        "pose_guiders.0.conv_in",
    ),
    options=animate_anyone_options,
    motions=(1.0, 3.0),
    sample=animate_anyone_sample,
    schedulers=(PUBLISHED, "karras"),
    pins_image=False,
    rounding=1e-4,
    stock=comfy.supported_models.SD15,
    without=without_bank,
)
KITS = {kit.config.family: kit for kit in (CINEMO, DYNAMICRAFTER, ANIMATE_ANYONE)}
every_family = pytest.mark.parametrize("kit", KITS.values(), ids=KITS, indirect=True)
# For what Animate Anyone does otherwise; each of these tests says what.
cinemo_and_dynamicrafter = pytest.mark.parametrize("kit", [CINEMO, DYNAMICRAFTER], ids=["Cinemo", "DynamiCrafter"], indirect=True)
