"""A whole checkpoint folder into MODEL, CLIP and VAE, and what goes wrong with folders."""

import json
import shutil

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.vae import is_temporal
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.tests.drawn import TEXT_WIDTH, UNET
from safetensors.torch import save_file

UNET_FILE = "unet/diffusion_pytorch_model.bin"


@pytest.fixture
def folder(drawn, model_folders):
    """A copy of the drawn checkpoint, called Cinemo."""
    shutil.copytree(drawn, model_folders.diffusers / "Cinemo")
    return model_folders.diffusers / "Cinemo"


def change_config(path, **options) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


@torch.no_grad()
def test_the_checkpoint_loads_and_every_part_works(folder):
    model, clip, vae = load_bundle("Cinemo")
    assert model.model.model_config.unet_config["context_dim"] == UNET.context_dim

    text = clip.encode_from_tokens(clip.tokenize("a cat"))
    assert text.shape == (1, 77, TEXT_WIDTH)
    assert text.isfinite().all()

    assert is_temporal(vae)
    latent = vae.encode(torch.rand(1, 64, 48, 3))
    assert latent.shape == (1, 4, 8, 6)
    pixels = vae.decode(torch.randn(3, 4, 8, 6) * 5)
    assert pixels.shape == (3, 64, 48, 3)
    assert pixels.isfinite().all()
    assert pixels.std() > 0.1
    assert (pixels[..., 0] - pixels[..., 2]).abs().mean() > 0.1  # coloured


def test_absolute_path(drawn):
    assert all(part is not None for part in load_bundle(str(drawn)))


def test_weight_dtype_reaches_the_unet(folder):
    model, _, _ = load_bundle("Cinemo", "fp32")
    assert model.model.get_dtype() == torch.float32


def test_decoder_can_be_chosen(folder):
    assert not is_temporal(load_bundle("Cinemo", decoder="image")[2])
    assert is_temporal(load_bundle("Cinemo", decoder="temporal")[2])
    shutil.rmtree(folder / "vae_temporal_decoder")
    assert not is_temporal(load_bundle("Cinemo")[2])


@pytest.mark.parametrize("index", [None, "{}", "not even JSON", '{"unet": ["diffusers", "FluxTransformer2DModel"]}'])
def test_the_index_does_not_matter(folder, index):
    path = folder / "model_index.json"
    path.unlink()
    if index is not None:
        path.write_text(index)
    assert load_bundle("Cinemo")


def test_class_name_and_absent_configs_do_not_matter(folder):
    change_config(folder / "unet/config.json", _class_name="AutoencoderKL", architectures=["Something"])
    for path in ("vae_temporal_decoder/config.json", "scheduler/scheduler_config.json"):
        (folder / path).unlink()
    assert load_bundle("Cinemo")
    (folder / "unet/config.json").unlink()
    assert load_bundle("Cinemo")


def test_safetensors_is_preferred(folder):
    weights = torch.load(folder / UNET_FILE, weights_only=True)
    save_file(weights, folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / UNET_FILE).write_bytes(b"never read")
    assert load_bundle("Cinemo")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("block_out_channels", [320, 640, 1280, 1280]),
        ("cross_attention_dim", 768),
        ("attention_head_dim", 8),
        ("layers_per_block", 2),
        ("use_linear_projection", True),
        ("norm_num_groups", 16),
        ("flip_sin_to_cos", False),
        ("addition_embed_type", "text_time"),
    ],
)
def test_unet_config_that_contradicts_the_weights_is_refused(folder, option, value):
    change_config(folder / "unet/config.json", **{option: value})
    with pytest.raises(CheckpointError, match=f"{option} = "):
        load_bundle("Cinemo")


def test_prediction_of_velocity_is_refused(folder):
    change_config(folder / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(CheckpointError, match="prediction_type"):
        load_bundle("Cinemo")


def remove(*names):
    def change(folder):
        for name in names:
            shutil.rmtree(folder / name)

    return change


def empty(name):
    def change(folder):
        shutil.rmtree(folder / name)
        (folder / name).mkdir()

    return change


def two_unets(folder):
    (folder / UNET_FILE).rename(folder / "unet/a.bin")
    shutil.copy(folder / "unet/a.bin", folder / "unet/b.bin")


def shards(folder):
    (folder / UNET_FILE).rename(folder / "unet/diffusion_pytorch_model-00001-of-00002.bin")


def only_the_single_file(folder):
    (folder / UNET_FILE).rename(folder / "cinemo.pt")
    shutil.rmtree(folder / "unet")


def image_vae_as_temporal(folder):
    shutil.copy(folder / "vae/diffusion_pytorch_model.bin", folder / "vae_temporal_decoder")
    (folder / "vae_temporal_decoder/diffusion_pytorch_model.safetensors").unlink()


def vae_as_unet(folder):
    shutil.copy(folder / "vae/diffusion_pytorch_model.bin", folder / UNET_FILE)


def truncated_vae(folder):
    path = folder / "vae_temporal_decoder/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "decoder", "message"),
    [
        (remove("vae_temporal_decoder"), "temporal", r"has no vae_temporal_decoder/ folder for decoder = temporal"),
        (remove("vae"), "image", r"has no vae/ folder for decoder = image"),
        (remove("vae", "vae_temporal_decoder"), "auto", r"has no vae_temporal_decoder/ or vae/ folder"),
        (remove("text_encoder"), "auto", r"has no text_encoder/ folder"),
        (empty("unet"), "auto", r"unet holds no weights; put diffusion_pytorch_model.safetensors"),
        (empty("vae_temporal_decoder"), "auto", r"vae_temporal_decoder holds no weights"),
        (empty("text_encoder"), "auto", r"text_encoder holds no weights"),
        (two_unets, "auto", r"holds 2 weights files \(a.bin, b.bin\)"),
        (shards, "auto", r"in 1 shards"),
        (image_vae_as_temporal, "temporal", r"is an image VAE, expected a temporal one"),
        (vae_as_unet, "auto", r"is not a Cinemo UNet; it is a VAE"),
        (truncated_vae, "auto", r"the download broke off"),
    ],
)
def test_incomplete_folders(folder, change, decoder, message):
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        load_bundle("Cinemo", decoder=decoder)


@pytest.mark.parametrize("change", [remove("unet"), only_the_single_file, shutil.rmtree])
def test_folder_without_unet(folder, change):
    change(folder)
    with pytest.raises(CheckpointError, match="unet/"):
        load_bundle("Cinemo")
    with pytest.raises(CheckpointError, match="unet/"):
        load_bundle(str(folder))


def test_text_encoder_of_another_width_is_refused(folder):
    path = folder / "text_encoder/pytorch_model.bin"
    wide = {k: v for k, v in torch.load(path, weights_only=True).items() if not k.endswith("position_ids")}
    for name, tensor in wide.items():
        for dim in range(tensor.ndim):
            if tensor.shape[dim] == TEXT_WIDTH:
                tensor = torch.cat([tensor, tensor], dim)
        wide[name] = tensor
    torch.save(wide, path)
    change_config(folder / "text_encoder/config.json", hidden_size=2 * TEXT_WIDTH)
    with pytest.raises(CheckpointError, match=r"is 128 channels wide, but the UNet reads 64"):
        load_bundle("Cinemo")
