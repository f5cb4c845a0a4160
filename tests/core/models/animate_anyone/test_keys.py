"""Names and sizes of tensors: the full-size sets as they are published."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.files.checkpoint import shapes_of
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.cinemo_core.models.animate_anyone.keys import REFERENCE, is_animate_anyone, normalise
from cinemo_pack.tests.goldens import meta

META = meta("animate_anyone/full_state_dict_keys")
FILES = {file: facts["keys"] for file, facts in META["files"].items()}
PARAMETERS = sum(facts["n_params"] for facts in META["files"].values())


def published(files: dict[str, dict] = FILES) -> dict[str, torch.Tensor]:
    return {f"{file}.{name}": torch.empty(tuple(shape), device="meta") for file, keys in files.items() for name, shape in keys.items()}


def with_positions(count: int) -> dict[str, dict]:
    keys = {name: [1, count, shape[2]] if name.endswith(".pe") else shape for name, shape in FILES["motion_module"].items()}
    return FILES | {"motion_module": keys}


def novita() -> dict[str, dict]:
    """Widths of the Pose Guider: 16, 32, 64, 128."""
    narrower = {"blocks.3": [64, 32, 3, 3], "blocks.4": [64, 64, 3, 3], "blocks.5": [128, 64, 3, 3], "conv_out": [320, 128, 3, 3]}
    keys = dict(FILES["pose_guider"])
    for layer, shape in narrower.items():
        keys |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
    return FILES | {"pose_guider": keys}


def reenactment() -> dict[str, dict]:
    return {
        "denoising_unet": FILES["denoising_unet"] | FILES["motion_module"],
        "reference_unet": FILES["denoising_unet"],
        "pose_guider1": FILES["pose_guider"],
        "pose_guider2": FILES["pose_guider"],
    }


@pytest.mark.parametrize(
    ("files", "positions", "pose_channels", "guiders"),
    [
        (FILES, 32, (16, 32, 96, 256), 1),
        (with_positions(128), 128, (16, 32, 96, 256), 1),
        (novita(), 32, (16, 32, 64, 128), 1),
        (reenactment(), 32, (16, 32, 96, 256), 2),
    ],
    ids=["published", "MusePose", "novita", "reenactment"],
)
def test_every_published_set_loads_whole(files, positions, pose_channels, guiders):
    found = published(files)
    assert is_animate_anyone(found)
    tensors = normalise(found)
    config = AnimateAnyoneConfig.from_state_dict(tensors)
    assert config.widths == (320, 640, 1280, 1280) and config.context_dim == 768 and (config.num_heads, config.motion_heads) == (8, 8)
    assert len(config.attending_blocks) == len(META["banked_blocks"])
    assert (config.positions, config.pose_channels, config.pose_guiders) == (positions, pose_channels, guiders)
    assert config.reenactment == (guiders == 2)
    assert AnimateAnyoneConfig.from_unet_config(config.unet_config()) == config
    assert ANIMATE_ANYONE.shapes(config) == shapes_of(tensors)  # nothing missing, nothing left over
    assert normalise(tensors) == tensors  # as ComfyUI saves it
    assert normalise({f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}) == tensors
    if files is FILES:
        tables = sum(tensor.numel() for name, tensor in tensors.items() if name.endswith("position_embedding.weight"))
        assert sum(tensor.numel() for tensor in tensors.values()) == PARAMETERS + tables


def test_a_motion_module_without_tables_gets_computed_ones():
    motion = {name: shape for name, shape in FILES["motion_module"].items() if not name.endswith(".pe")}
    tensors = normalise(published(FILES | {"motion_module": motion}))
    config = AnimateAnyoneConfig.from_state_dict(tensors)
    assert config.positions == 32
    assert ANIMATE_ANYONE.shapes(config) == shapes_of(tensors)


def test_the_spatial_part_has_the_names_of_sd15():
    names = set(normalise(published()))
    assert {"middle_block.2.in_layers.0.weight", "output_blocks.5.2.conv.weight", "output_blocks.2.1.conv.weight"} <= names
    assert {"input_blocks.11.0.motion.norm.weight", "middle_block.1.motion.norm.weight", "input_blocks.1.1.motion.norm.weight"} <= names
    assert f"{REFERENCE}output_blocks.11.1.transformer_blocks.0.attn1.to_q.weight" in names
    assert not any(name.startswith(f"{REFERENCE}out.") for name in names)


@pytest.mark.parametrize("missing", ["denoising_unet", "motion_module"])
def test_a_set_without_its_motion_modules_is_not_one(missing):
    assert not is_animate_anyone(published({file: keys for file, keys in FILES.items() if file != missing}))
    with pytest.raises(CheckpointError, match="has motion modules in its UNet"):
        normalise(published({"denoising_unet": FILES["denoising_unet"]}))
