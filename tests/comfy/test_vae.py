"""The VAE loader against diffusers, on small random VAEs."""

import diffusers
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.vae import is_temporal, load_vae
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.temporal_vae import keys
from comfy.ldm.models.autoencoder import AutoencodingEngine
from safetensors.torch import load_file, save_file

WIDTHS = (32, 64, 32, 64)
TOLERANCE = 1e-5


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Values of ordinary size in every parameter, so that none is inert (diffusers starts mix factors at 0)."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            parameter.data = (1 if "norm" in name and name.endswith("weight") else 0) + 0.2 * noise
        else:
            parameter.data = noise / parameter[0].numel() ** 0.5
    return model.eval().requires_grad_(False)


def temporal_settings(widths: tuple[int, ...]) -> dict:
    return {"block_out_channels": widths, "layers_per_block": 2, "down_block_types": ["DownEncoderBlock2D"] * len(widths)}


def temporal_vae() -> torch.nn.Module:
    return randomise(diffusers.AutoencoderKLTemporalDecoder(**temporal_settings(WIDTHS)))


def image_vae(**options) -> torch.nn.Module:
    settings = {"block_out_channels": WIDTHS, "layers_per_block": 2, "latent_channels": 4}
    levels = len((settings | options)["block_out_channels"])
    settings |= {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    return randomise(diffusers.AutoencoderKL(**settings | options))


def save(model: torch.nn.Module, folder, suffix: str) -> str:
    model.save_pretrained(folder, safe_serialization=suffix == "safetensors")
    return str(folder / f"diffusion_pytorch_model.{suffix}")


def decoded(vae, latents: torch.Tensor) -> torch.Tensor:
    """The decoder's own output, before ComfyUI maps it to 0..1 and clips it."""
    return vae.first_stage_model.decode(latents)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 32, 24, 3, generator=torch.Generator().manual_seed(2))  # b h w c


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(5, 4, 4, 3, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_temporal_vae_equals_diffusers(tmp_path, suffix, image, latents):
    reference = temporal_vae()
    vae = load_vae(save(reference, tmp_path, suffix))
    assert is_temporal(vae)
    assert vae.vae_dtype == torch.float32

    expected = reference.decode(latents, num_frames=5).sample
    assert expected.std() > 0.1
    torch.testing.assert_close(decoded(vae, latents), expected, atol=TOLERANCE, rtol=0)
    # frames do see each other: cut differently, the clip differs
    assert (decoded(vae, latents[:3]) - expected[:3]).abs().max() > 1e-2

    mode = reference.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert mode.std() > 0.1
    torch.testing.assert_close(vae.encode(image), mode, atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_image_vae_equals_diffusers(tmp_path, suffix, image, latents):
    reference = image_vae()
    vae = load_vae(save(reference, tmp_path, suffix))
    assert not is_temporal(vae)
    torch.testing.assert_close(decoded(vae, latents), reference.decode(latents).sample, atol=TOLERANCE, rtol=0)
    mode = reference.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    torch.testing.assert_close(vae.encode(image), mode, atol=TOLERANCE, rtol=0)
    pixels = vae.decode(latents)
    assert pixels.shape == (5, 32, 24, 3)
    assert pixels.min() >= 0 and pixels.max() <= 1


@torch.no_grad()
def test_attention_names_of_old_diffusers(tmp_path, latents):
    reference = image_vae()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state_dict = reference.state_dict()
    for name in list(state_dict):
        for new, before in old.items():
            if f".{new}." in name:
                state_dict[name.replace(f".{new}.", f".{before}.")] = state_dict.pop(name)
    path = tmp_path / "diffusion_pytorch_model.bin"
    torch.save(state_dict, path)
    torch.testing.assert_close(decoded(load_vae(str(path)), latents), reference.decode(latents).sample, atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("make", [image_vae, temporal_vae])
def test_ldm_layout_as_comfyui_saves_it(tmp_path, make, image, latents):
    first = load_vae(save(make(), tmp_path, "safetensors"))
    path = tmp_path / "saved.safetensors"
    save_file(first.get_sd(), path)
    second = load_vae(str(path))
    assert is_temporal(second) == is_temporal(first)
    torch.testing.assert_close(decoded(first, latents), decoded(second, latents), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(first.encode(image), second.encode(image), atol=TOLERANCE, rtol=0)


def test_names_and_shapes_are_those_of_comfyuis_temporal_vae():
    """At the published width, where ComfyUI has a temporal VAE of its own to compare with."""
    config = keys.VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=True)
    model = "comfy.ldm.modules.diffusionmodules.model"
    with torch.device("meta"):
        engine = AutoencodingEngine(
            encoder_config={"target": f"{model}.Encoder", "params": config.ddconfig},
            decoder_config={
                "target": "comfy.ldm.modules.temporal_ae.VideoDecoder",
                "params": config.ddconfig | {"video_kernel_size": [3, 1, 1], "alpha": 0.0},
            },
            regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        )
        reference = diffusers.AutoencoderKLTemporalDecoder(**temporal_settings(config.widths))
    expected = {name: tuple(tensor.shape) for name, tensor in engine.state_dict().items()}
    table = keys.entries(config)
    assert {entry.ldm: entry.shape for entry in table if not entry.ldm.startswith("quant_conv")} == expected
    assert {entry.diffusers: entry.diffusers_shape for entry in table} == {n: tuple(t.shape) for n, t in reference.state_dict().items()}


def test_patcher_can_be_made_again(tmp_path):
    vae = load_vae(save(temporal_vae(), tmp_path, "safetensors"))
    make, arguments = vae.patcher.cached_patcher_init
    again = make(*arguments, disable_dynamic=True)
    assert again is not vae.patcher
    for name, tensor in vae.patcher.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_no_tensor_is_missing_for_comfyui(tmp_path, caplog):
    load_vae(save(temporal_vae(), tmp_path, "safetensors"))
    load_vae(save(image_vae(), tmp_path / "image", "safetensors"))
    assert "Missing" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_channels": 16}, "16 latent channels"),
        ({"block_out_channels": (32, 64, 64)}, "3 levels"),
        ({"block_out_channels": (64, 96, 96, 96)}, "channels wide"),
        ({"scaling_factor": 0.13025}, "scaling_factor = 0.13025, expected 0.18215"),
        ({"block_out_channels": (48, 48, 48, 48), "norm_num_groups": 16}, "norm_num_groups = 16"),
    ],
)
def test_other_vaes_are_refused(tmp_path, options, message):
    path = save(image_vae(**options), tmp_path, "safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_vae(path)


@pytest.mark.parametrize("make", [image_vae, temporal_vae])
def test_incomplete_vae_is_refused(tmp_path, make):
    path = save(make(), tmp_path, "safetensors")
    state_dict = load_file(path)
    del state_dict["decoder.up_blocks.1.resnets.0.conv1.weight" if make is image_vae else "decoder.time_conv_out.bias"]
    save_file(state_dict, path)
    with pytest.raises(CheckpointError, match="lacks 1 tensors"):
        load_vae(path)


def test_decoder_alone_is_refused(tmp_path):
    path = save(image_vae(), tmp_path, "safetensors")
    save_file({k: v for k, v in load_file(path).items() if not k.startswith("encoder")}, path)
    with pytest.raises(CheckpointError, match="lacks its encoder"):
        load_vae(path)


@pytest.mark.parametrize(
    ("part", "what"), [("unet/diffusion_pytorch_model.bin", "a Cinemo UNet"), ("text_encoder/pytorch_model.bin", "a CLIP text encoder")]
)
def test_other_parts_are_refused(drawn, part, what):
    with pytest.raises(CheckpointError, match=f"is {what}, expected a VAE"):
        load_vae(str(drawn / part))
