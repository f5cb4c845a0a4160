"""The goldens themselves: complete, finite, small, and with weights that come out of their rule bit for bit."""

import zlib

import pytest
import torch
from cinemo_pack.tests.goldens import FOLDER, load, meta, weights

NAMES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def test_the_set_is_complete_and_small():
    assert NAMES == ["crop", "dctinit", "ddim", "ddim_inversion", "submodules_a", "unet_tiny_a.cases"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 6e6


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_finite_and_described(name):
    assert meta(name)["versions"]["reference_commit"].startswith("7cd7f27")
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


def test_weights_match_their_checksum():
    state_dict = weights.tiny_a_state_dict()
    assert len(state_dict) == meta("unet_tiny_a.cases")["n_keys"]
    assert all(torch.equal(tensor, tensor.half().float()) for key, tensor in state_dict.items() if not key.endswith("freqs"))
    assert weights.checksum(state_dict) == weights.rule()["sha256"]


def test_weights_checksum_sees_one_flipped_bit():
    state_dict = weights.tiny_a_state_dict()
    state_dict["conv_in.weight"].view(torch.int32)[0, 0, 0, 0] ^= 1
    assert weights.checksum(state_dict) != weights.rule()["sha256"]


def test_weights_follow_torch_randn():
    """The rule in its plain form; the vectorised functions of some CPUs move a value over a float16 rounding now and then."""
    for key in ("mid_block.resnets.0.conv1.weight", "conv_out.bias"):
        values = weights.tiny_a_state_dict()[key]
        seed = (zlib.crc32(key.encode()) ^ 20240611) & 0x7FFFFFFF
        plain = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
        plain *= 0.1 if values.ndim == 1 else values[0].numel() ** -0.5
        assert (plain.half().float() != values).float().mean() < 1e-3
        assert (plain - values).abs().max() < 2**-11 * values.abs().max()
