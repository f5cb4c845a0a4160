"""Names and sizes of tensors: every accepted layout, the full-size checkpoint, and what is refused."""

import dataclasses

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.cinemo import keys
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.cinemo.skeleton import expected_shapes
from cinemo_pack.cinemo_core.models.cinemo.unet import CinemoUNet
from cinemo_pack.cinemo_core.models.sd_unet.keys import LDM_PREFIX
from cinemo_pack.tests.goldens import meta

FULL = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    num_res_blocks=(2, 2, 2, 2),
    transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
    context_dim=768,
    num_heads=8,
    motion_dim=256,
)
UNEVEN = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5, 2),
    num_res_blocks=(1, 2, 1),
    transformer_depth=(1, 1, 1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 0, 0),
    context_dim=48,
    num_heads=2,
    motion_dim=32,
)


def empty(shapes: dict) -> dict[str, torch.Tensor]:
    return {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}


def test_all_published_keys_load_into_the_full_network():
    published = empty(meta("full_state_dict_keys")["keys"])
    assert len(published) == 834
    state_dict = keys.normalise(published)
    assert CinemoConfig.from_state_dict(state_dict) == FULL
    with torch.device("meta"):
        unet = CinemoUNet(FULL, attention=None, dtype=torch.float32, device="meta", operations=torch.nn)
    missing, unexpected = unet.load_state_dict(state_dict, strict=True, assign=True)
    assert not missing and not unexpected
    assert len(published) - len(state_dict) == 16  # the copies of the rotary buffer
    assert sum(p.numel() for p in unet.parameters()) == 911_092_740


@pytest.mark.parametrize("config", [FULL, UNEVEN], ids=["full", "uneven"])
def test_configuration_survives_a_round_trip_through_shapes_and_both_layouts(config):
    ldm = empty(expected_shapes(config))
    assert CinemoConfig.from_state_dict(ldm) == config
    assert CinemoConfig.from_unet_config(config.unet_config()) == config
    names = keys.TABLE.to_diffusers(ldm, config)
    assert len(set(names.values())) == len(ldm)
    back = keys.normalise({names[name]: tensor for name, tensor in ldm.items()})
    assert back.keys() == ldm.keys() and all(back[name] is ldm[name] for name in ldm)


def test_published_names_are_those_that_we_write():
    published = {key for key in meta("full_state_dict_keys")["keys"] if not key.endswith("rotary_emb.freqs")}
    assert set(keys.TABLE.to_diffusers(expected_shapes(FULL), FULL).values()) == published


def test_a_whole_checkpoint_is_narrowed_to_its_unet():
    ldm = empty(expected_shapes(UNEVEN))
    whole = {LDM_PREFIX + name: tensor for name, tensor in ldm.items()} | empty({"first_stage_model.decoder.conv_in.weight": [1]})
    assert keys.normalise(whole).keys() == ldm.keys()


def test_another_rotary_base_is_refused(tiny_weights):
    changed = {k: v * 1.1 if k.endswith("rotary_emb.freqs") else v for k, v in tiny_weights.items()}
    with pytest.raises(CheckpointError, match="rotary frequencies"):
        keys.normalise(changed)
    halved = {k: v.half() for k, v in tiny_weights.items()}  # a float16 checkpoint rounds the buffer and is fine
    assert keys.normalise(halved)


def test_other_models_are_refused():
    with pytest.raises(CheckpointError, match="not those of a Cinemo UNet"):
        keys.normalise(empty({"input_blocks.0.0.weight": [320, 4, 3, 3], "out.2.weight": [4, 320, 3, 3]}))


@pytest.mark.parametrize(
    "lost",
    [
        "input_blocks.0.0.weight",
        "input_blocks.1.1.",
        "out.2.weight",
        "output_blocks.6.",
        "motion_embed.0.weight",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    ],
)
def test_sizes_are_not_guessed_where_tensors_are_missing(lost):
    kept = {name: tensor for name, tensor in empty(expected_shapes(UNEVEN)).items() if not name.startswith(lost)}
    try:
        config = CinemoConfig.from_state_dict(kept)
    except CheckpointError:
        return
    assert expected_shapes(config).keys() != kept.keys()  # so that the loader's comparison refuses the file


@pytest.mark.parametrize(("change", "message"), [({"model_channels": 40}, "normalisation groups"), ({"num_heads": 4}, "rotary")])
def test_widths_that_the_network_cannot_have_are_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        dataclasses.replace(UNEVEN, **change)
