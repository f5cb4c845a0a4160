"""The VAE's table of names: its configuration can be read back from its shapes, in either layout."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.temporal_vae import keys

CONFIGS = [
    keys.VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=False),
    keys.VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=True),
    keys.VAEConfig((32, 64, 96, 32), num_res_blocks=2, temporal=True),
    keys.VAEConfig((32, 32, 32, 32), num_res_blocks=1, temporal=False),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip(config):
    table = keys.entries(config)
    assert keys.read_config({e.ldm: e.shape for e in table}) == config
    assert keys.read_config({e.diffusers: e.diffusers_shape for e in table}) == config
    assert len({e.ldm for e in table}) == len({e.diffusers for e in table}) == len(table)


def temporal(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {e.diffusers: torch.randn(e.diffusers_shape, generator=generator).to(dtype) for e in keys.entries(CONFIGS[2])}


def test_conversion_passes_tensors_on_without_copying():
    state_dict = temporal(torch.float16)
    converted = keys.to_ldm(state_dict, CONFIGS[2])
    for entry in keys.entries(CONFIGS[2]):
        if not entry.ldm.startswith(("quant_conv", "encoder.conv_out")):
            assert converted[entry.ldm].data_ptr() == state_dict[entry.diffusers].data_ptr()
            assert converted[entry.ldm].shape == entry.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_quant_convolution_is_folded_exactly(dtype):
    state_dict = temporal(dtype)
    converted = keys.to_ldm(state_dict, CONFIGS[2])
    assert not [name for name in converted if name.startswith("quant_conv")]
    x = torch.randn(1, 32, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wide = {k: v.double() for k, v in state_dict.items()}
    expected = torch.conv2d(x, wide["encoder.conv_out.weight"], wide["encoder.conv_out.bias"], padding=1)
    expected = torch.conv2d(expected, wide["quant_conv.weight"], wide["quant_conv.bias"])
    found = torch.conv2d(x, converted["encoder.conv_out.weight"].double(), converted["encoder.conv_out.bias"].double(), padding=1)
    assert converted["encoder.conv_out.weight"].dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("change", [lambda sd: sd.pop("quant_conv.weight"), lambda sd: sd.update(extra=torch.zeros(1))])
def test_other_tensors_are_refused(change):
    state_dict = temporal(torch.float16)
    change(state_dict)
    with pytest.raises(CheckpointError, match="The temporal VAE"):
        keys.to_ldm(state_dict, CONFIGS[2])
