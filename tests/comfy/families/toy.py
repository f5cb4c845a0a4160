"""A family that only the tests have: Stable Diffusion's UNet without text, and a scale for its output. As small as one can be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import comfy.ldm.modules.attention
import comfy.model_base
import comfy.supported_models
import torch
from cinemo_pack.cinemo_core.comfyui.description import FamilyDescription
from cinemo_pack.cinemo_core.files.checkpoint import shapes_of, size_of
from cinemo_pack.cinemo_core.models.family import Family
from cinemo_pack.cinemo_core.models.sd_unet.attention import FeedForward, SpatialBlock
from cinemo_pack.cinemo_core.models.sd_unet.blocks import ResBlock, SpatialTransformer
from cinemo_pack.cinemo_core.models.sd_unet.config import UNetConfig
from cinemo_pack.cinemo_core.models.sd_unet.embeddings import sinusoid
from cinemo_pack.cinemo_core.models.sd_unet.keys import SENSITIVE, without_prefix
from cinemo_pack.cinemo_core.models.sd_unet.skeleton import tensor_shapes
from cinemo_pack.cinemo_core.models.sd_unet.step import Step
from cinemo_pack.cinemo_core.models.sd_unet.unet import Layers, SDUNet, begin, embedding, head, patch_embedding
from cinemo_pack.tests.comfy.families import walks
from cinemo_pack.tests.comfy.families.walks import FRAMES, HEIGHT, WIDTH, Setting, Walk
from torch import nn

MARK = "toy_scale.weight"


@dataclass(frozen=True)
class ToyConfig(UNetConfig):
    family: ClassVar[str] = "Toy"

    num_heads: int

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Any]) -> "ToyConfig":
        return cls(**cls.read_sizes(state_dict), num_heads=size_of(shapes_of(state_dict), MARK, 2, "The Toy UNet")[1])


class ToyBlock(SpatialBlock):
    def __init__(self, dim: int, context_dim: int, heads: int, *, attention, dtype, device, operations) -> None:
        super().__init__(dim, context_dim, heads, attention=attention, dtype=dtype, device=device, operations=operations)
        self.norm3 = operations.LayerNorm(dim, dtype=dtype, device=device)
        self.ff = FeedForward(dim, dtype=dtype, device=device, operations=operations)

    def forward(self, x, step: Step):
        x = self.attend_to_context(self.attend_to_self(x, step), step)
        return x + self.ff(self.norm3(x))


class ToyUNet(SDUNet):
    def __init__(self, config: ToyConfig, *, attention, dtype, device, operations) -> None:
        super().__init__()
        self.config, self.dtype = config, dtype
        factory = {"dtype": dtype, "device": device, "operations": operations}
        width, heads = config.model_channels, config.num_heads

        def res_block(channels: int, out: int) -> nn.Module:
            return ResBlock(channels, out, 4 * width, **factory)

        def transformers(channels: int, depth: int) -> list[nn.Module]:
            block = partial(ToyBlock, channels, config.context_dim, heads, attention=attention, **factory)
            return [SpatialTransformer(channels, depth, block, **factory)]

        self.time_embed = embedding(width, 4 * width, **factory)
        self.add_blocks(config, Layers(res_block, transformers), **factory)
        self.out = head(width, config.out_channels, **factory)
        self.toy_scale = operations.Linear(heads, 1, bias=False, dtype=dtype, device=device)

    def forward(self, x, timesteps, context=None, y=None, control=None, transformer_options={}, **kwargs):
        begin(transformer_options, x)
        emb = self.time_embed(sinusoid(timesteps, self.config.model_channels).to(x.dtype))
        emb = patch_embedding(emb, self.config.model_channels, transformer_options)
        h = self.out(self.walk(x, timesteps, Step(1, emb, context, transformer_options), control))
        return h * self.toy_scale(h.new_ones(1, self.config.num_heads)).reshape(1, 1, 1, 1)


class ToyNetwork(ToyUNet):
    def __init__(self, *, dtype, device, operations, **unet_config):
        attention = comfy.ldm.modules.attention.optimized_attention
        super().__init__(ToyConfig.from_unet_config(unet_config), attention=attention, dtype=dtype, device=device, operations=operations)


class ToyModel(comfy.model_base.BaseModel):
    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.EPS, device=device, unet_model=ToyNetwork)


def is_toy(names: Iterable[str]) -> bool:
    return any(name.endswith(MARK) for name in names)


TOY = Family(
    name="Toy",
    where="choose one that a test wrote",
    is_mine=is_toy,
    normalise=without_prefix,
    config=ToyConfig.from_state_dict,
    shapes=lambda config: tensor_shapes(partial(ToyUNet, config)),
    sensitive=SENSITIVE,
)


class ToySupported(FamilyDescription, comfy.supported_models.SD15):
    family = TOY
    model_class = ToyModel
    loaders = "a loader that the tests do not have"

    unet_config: dict = {}
    unet_extra_config: dict = {}


CONFIG = ToyConfig(
    in_channels=4,
    out_channels=4,
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 0, 0),
    context_dim=24,
    num_heads=2,
)


def weights() -> dict[str, torch.Tensor]:
    from cinemo_pack.tests.drawn import draw

    return {name: draw(name, shape) for name, shape in TOY.shapes(CONFIG).items()}


def condition(frames: int, height: int, width: int) -> tuple[list, list]:
    generator = torch.Generator().manual_seed(5)
    positive, negative = torch.randn(2, 1, 7, CONFIG.context_dim, generator=generator)
    return [[positive, {}]], [[negative, {}]]


def stock_sampling(model, setting: Setting) -> torch.Tensor:
    return walks.stock_sampling(model, *condition(FRAMES, HEIGHT, WIDTH), setting)


WALKS: dict[str, Walk] = {"stock sampling": stock_sampling}
