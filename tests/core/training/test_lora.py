"""LoRA next to the layers of a UNet: no effect at first, only its own weights train, and a file by ComfyUI's names."""

import pytest
import torch
from cinemo_pack.cinemo_core.training.lora import ATTENTIONS, add_lora, write_lora
from safetensors.torch import load_file

from .test_network import filled, gradients, loss_of


def test_it_starts_without_effect_and_trains_alone():
    unet = filled()
    expected = loss_of(unet)
    add_lora(unet, 3, 6.0, ATTENTIONS, seed=0)
    unet.double()
    assert loss_of(unet).item() == pytest.approx(expected.item(), rel=1e-12)
    trained = {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in unet.named_parameters() if ".lora_" in name}
    assert {name.split(".")[-4 if "to_out" not in name else -5] for name in trained} == set(ATTENTIONS)


@pytest.mark.parametrize("layers", [("attn_temp",), ("attn1", "motion_embed")])
def test_layers_can_be_chosen(layers):
    unet = filled()
    add_lora(unet, 2, 2.0, layers, seed=0)
    adapted = {name.split(".lora_")[0] for name, parameter in unet.named_parameters() if parameter.requires_grad}
    assert adapted
    assert all(any(f".{layer}." in f".{name}." for layer in layers) for name in adapted)
    assert {layer for layer in layers if any(f".{layer}." in f".{name}." for name in adapted)} == set(layers)


def test_the_file_holds_the_deltas_of_the_layers(tmp_path):
    unet, merged = filled(), filled()
    add_lora(unet, 3, 6.0, (*ATTENTIONS, "motion_embed"), seed=0)
    unet.double()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in unet.named_parameters():
        if "lora_up" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    write_lora(tmp_path / "a" / "lora.safetensors", unet.state_dict(), 3, 6.0, torch.float32)
    file = load_file(tmp_path / "a" / "lora.safetensors")
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["lora.safetensors"]
    (tmp_path / "new").touch()
    assert (tmp_path / "a" / "lora.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode  # not private to its owner

    layers = {
        "lora_unet_" + name.removesuffix(".weight").replace(".", "_"): name for name in merged.state_dict() if name.endswith(".weight")
    }
    names = {key.split(".")[0] for key in file}
    assert len(file) == 3 * len(names)
    for key in names:
        parameter = merged.get_parameter(layers[key])
        up, down, alpha = (file[f"{key}.{part}"].double() for part in ("lora_up.weight", "lora_down.weight", "alpha"))
        parameter.data += up @ down * alpha / down.shape[0]
    assert loss_of(merged).item() == pytest.approx(loss_of(unet).item(), rel=1e-5)
    assert gradients(merged).keys() == dict(filled().named_parameters()).keys()
