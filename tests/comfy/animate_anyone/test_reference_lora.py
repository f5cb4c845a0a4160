"""A LoRA for ReferenceNet through ComfyUI's own map of names: its effect is that of merged weights, and only there."""

import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone.reference import make_bank, reference_of
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import CheckpointError, InputError
from cinemo_pack.cinemo_core.models.animate_anyone.keys import REFERENCE
from cinemo_pack.nodes.animate_anyone.patch import CinemoAnimateAnyoneReferenceLoRA
from cinemo_pack.tests.comfy.families import animate_anyone as small
from cinemo_pack.tests.comfy.toolbox.files import draw_lora, kohya, own
from safetensors.torch import save_file

LAYERS = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_v": "middle_block.1.transformer_blocks.0.attn2.to_v",
}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in small.weights().items()}


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("lora") / "small.safetensors"
    save_file(weights, path)
    return load_unet(str(path), "fp32")


@pytest.fixture
def loras(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def patched(model, name: str, strength: float = 1.0):
    return CinemoAnimateAnyoneReferenceLoRA.execute(model, name, strength).result[0]


def bank(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    latent, embeds = torch.randn(1, 4, 6, 5, generator=generator), torch.randn(1, 1, small.CONFIG.context_dim, generator=generator)
    return torch.cat([tokens.flatten() for tokens in make_bank(model, latent, embeds).values()])


@torch.inference_mode()
@pytest.mark.parametrize("naming", [kohya, own])
def test_it_is_as_if_the_weights_were_merged(model, weights, loras, tmp_path_factory, naming):
    reference = {name.removeprefix(REFERENCE): t for name, t in weights.items() if name.startswith(REFERENCE)}
    layers = LAYERS if naming is kohya else {name: name for name in LAYERS.values()}
    file, merged = draw_lora(reference, layers, naming)
    save_file(file | {"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(1.0)}, loras / "lora.safetensors")
    whole = tmp_path_factory.mktemp("merged") / "whole.safetensors"
    save_file(weights | {REFERENCE + name: tensor for name, tensor in merged.items()}, whole)
    plain, expected = bank(model), bank(load_unet(str(whole), "fp32"))
    found = bank(patched(model, "lora.safetensors"))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - plain).abs().max() > 1e-2 * plain.abs().max()
    assert torch.equal(bank(model), plain), "the model that it came from has it too"
    opposite = patched(patched(model, "lora.safetensors", 0.75), "lora.safetensors", -0.75)
    assert (bank(opposite) - plain).abs().max() <= 1e-5 * plain.abs().max(), "a second one is not added to the first"
    denoiser = model.model.diffusion_model.state_dict()
    assert all(torch.equal(denoiser[name], weights[name]) for name in denoiser)


@torch.inference_mode()
def test_a_copy_keeps_it(model, weights, loras):
    reference = {name.removeprefix(REFERENCE): t for name, t in weights.items() if name.startswith(REFERENCE)}
    save_file(draw_lora(reference, LAYERS, kohya)[0], loras / "lora.safetensors")
    lora = patched(model, "lora.safetensors")
    assert reference_of(lora.clone()).patches and torch.equal(bank(lora.clone()), bank(lora))
    assert not reference_of(model).patches


def test_one_that_fits_nothing_is_refused(model, loras):
    save_file({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.zeros(4, 2)}, loras / "text.safetensors")
    with pytest.raises(
        InputError, match=r"The LoRA text.safetensors has no layer that ReferenceNet has; choose a LoRA for the UNet of Stable"
    ):
        patched(model, "text.safetensors")
    with pytest.raises(CheckpointError, match=r"There is no LoRA gone.safetensors in models/loras; choose one that is listed"):
        patched(model, "gone.safetensors")
