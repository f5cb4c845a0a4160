"""Names and sizes of tensors: the full-size checkpoints in every layout."""

from dataclasses import replace

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.keys import is_dynamicrafter, normalise
from cinemo_pack.cinemo_core.models.dynamicrafter.resampler import Resampler, ResamplerConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.unet import DynamiCrafterUNet
from cinemo_pack.tests.drawn_dynamicrafter import own_projector
from cinemo_pack.tests.goldens import meta

META = meta("dynamicrafter/full_state_dict_keys")
PARAMETERS = {"256": 1_438_854_996, "512": 1_438_854_980, "1024": 1_438_854_980, "512_interp": 1_438_854_980}


def published(variant: str) -> dict[str, torch.Tensor]:
    shapes = META["unet_keys"] | (META["unet_256_extra_keys"] if variant == "256" else {})
    names = {n: n.replace("fps_embedding", "framestride_embed") if variant == "256" else n for n in shapes}
    return {names[name]: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "_forward_module.model.diffusion_model."])
@pytest.mark.parametrize("variant", PARAMETERS)
def test_every_variant_loads_whole(variant, prefix):
    found = {prefix + name: tensor for name, tensor in published(variant).items()}
    assert is_dynamicrafter(found)
    state_dict = normalise(found)
    config = DynamiCrafterConfig.from_state_dict(state_dict)
    assert config.gated == (variant == "256") and config.widths == (320, 640, 1280, 1280) and config.num_head_channels == 64
    assert DynamiCrafterConfig.from_unet_config(config.unet_config()) == config
    unet = DynamiCrafterUNet(config, attention=None, dtype=torch.float32, device="meta", operations=torch.nn)
    unet.load_state_dict(state_dict, strict=True, assign=True)
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS[variant]
    assert normalise(state_dict) == state_dict  # as ComfyUI saves it


def test_the_spatial_part_has_the_names_of_sd21():
    names = set(normalise(published("512")))
    assert {"middle_block.2.in_layers.0.weight", "output_blocks.5.2.conv.weight", "output_blocks.2.1.conv.weight"} <= names
    assert not any(name.startswith("middle_block.3.") for name in names)


def test_the_projector_loads_whole():
    tensors = own_projector({name: torch.empty(tuple(shape), device="meta") for name, shape in META["image_proj_model."].items()})
    config = ResamplerConfig.from_state_dict(tensors)
    resampler = Resampler(config, attention=None, dtype=torch.float32, device="meta", operations=torch.nn)
    resampler.load_state_dict(tensors, strict=True, assign=True)
    assert sum(p.numel() for p in resampler.parameters()) == META["image_proj_model_n_params"]


def test_every_parameter_is_of_a_module_without_submodules():
    """ComfyUI moves to the GPU, merges and patches no others."""
    config = DynamiCrafterConfig.from_state_dict(normalise(published("256")))
    projector = ResamplerConfig(1280, dim=1024, inner=768, hidden=4096, output_dim=1024, queries=256, depth=4)
    unet = DynamiCrafterUNet(replace(config, projector=projector), attention=None, dtype=None, device="meta", operations=torch.nn)
    for name, module in unet.named_modules():
        assert not (list(module.parameters(recurse=False)) and list(module.children())), name


def test_an_option_that_no_published_model_has_is_refused():
    extra = "input_blocks.1.2.transformer_blocks.0.attn1.relative_position_k.embeddings_table"
    state_dict = normalise(published("512") | {extra: torch.empty(1, device="meta")})
    with pytest.raises(CheckpointError, match="was trained with use_relative_position"):
        DynamiCrafterConfig.from_state_dict(state_dict)
