"""The goldens themselves: complete, finite, small, and said where they were recorded."""

import pytest
import torch
from cinemo_pack.tests.goldens import FOLDER, load, meta, tiny_a_state_dict

NAMES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def test_the_set_is_complete_and_small():
    assert NAMES == ["crop", "dctinit", "ddim", "ddim_inversion", "submodules_a", "unet_tiny_a.cases", "unet_tiny_a.weights"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_finite_and_described(name):
    versions = meta(name)["versions"]
    assert versions["reference_commit"].startswith("7cd7f27")
    assert versions["cpu"] and versions["num_threads"], "on what were these numbers recorded?"
    for key, tensor in load(name).items():
        assert tensor.numel() > 0 and tensor.isfinite().all(), key


def test_every_unet_case_is_there():
    tensors = load("unet_tiny_a.cases")
    parts = ("sample", "base_content", "encoder_hidden_states", "timestep", "motion_ids", "output")
    assert {case["name"] for case in meta("unet_tiny_a.cases")["cases"]} == {f"c{i}" for i in range(9)}
    assert set(tensors) == {f"c{i}.{part}" for i in range(9) for part in parts}


def test_every_submodule_pair_is_there():
    tensors = load("submodules_a")
    fixtures = meta("submodules_a")["fixtures"]
    assert len(fixtures) >= 25
    for name, fixture in fixtures.items():
        assert f"{name}.{'sum' if name == 'temb' else 'out'}" in tensors
        for argument, shape in fixture.get("inputs", {}).items():
            if argument not in ("n", "size", "video_length"):
                assert list(tensors[f"{name}.in.{argument}"].shape) == shape


def test_the_weights_are_whole():
    facts, stored, weights = meta("unet_tiny_a.weights"), load("unet_tiny_a.weights"), tiny_a_state_dict()
    assert len(weights) == facts["n_keys"] == meta("unet_tiny_a.cases")["n_keys"]
    parameters = {key: tensor for key, tensor in stored.items() if not key.endswith("rotary_emb.freqs")}
    assert sum(tensor.numel() for tensor in parameters.values()) == facts["n_params"] == meta("unet_tiny_a.cases")["n_params"]
    assert {tensor.dtype for tensor in parameters.values()} == {torch.float16}
    assert all(tensor.dtype == torch.float32 and tensor.any() for tensor in weights.values()), "a layer that does nothing tests nothing"


def test_the_weights_are_spread_as_the_readme_says():
    """Enough to notice another network's file under this name."""
    weights = tiny_a_state_dict()
    for key, spread in (("mid_block.resnets.0.conv1.weight", (9 * 128) ** -0.5), ("down_blocks.0.attentions.0.proj_in.weight", 64**-0.5)):
        assert weights[key].std().item() == pytest.approx(spread, rel=0.02)
    attention = "mid_block.attentions.0.transformer_blocks.0.attn1"
    assert weights[f"{attention}.to_q.weight"].std().item() == pytest.approx(1.4 * 128**-0.5, rel=0.05)
    assert weights[f"{attention}.to_v.weight"].std().item() == pytest.approx(128**-0.5, rel=0.05)
