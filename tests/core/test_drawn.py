"""The drawn checkpoint: whole, small, and the same on every machine."""

import hashlib
import json

import pytest
import torch
from cinemo_pack.cinemo_core.files.checkpoint import read_state_dict, shapes_of
from cinemo_pack.cinemo_core.files.folder import read_bundle
from cinemo_pack.cinemo_core.models.clip_text import keys as clip_text
from cinemo_pack.cinemo_core.models.recognise import recognise
from cinemo_pack.cinemo_core.models.temporal_vae import keys as vae
from cinemo_pack.tests import drawn

WEIGHTS = {
    "unet/diffusion_pytorch_model.bin": "c584d869dfdf34bc86213409a9432a0582a6657f96311b92c90874ec7cdd41f7",
    "vae/diffusion_pytorch_model.bin": "ca76d1bcf7ca1e1ce0b28e12b8e7f89bbba845c8b97659f3783e7ffc3f819897",
    "vae_temporal_decoder/diffusion_pytorch_model.safetensors": "fdf55227cb6caf3cb428e34f2475cff3ffeb5735182fd2d72f933adf01ff13b1",
    "text_encoder/pytorch_model.bin": "91ff0e6630b63b620c7f5d33b9cf7902efc5ec15abe8472371cfbed51b055b62",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.write(tmp_path_factory.mktemp("models") / "drawn")


def checksum(tensors: dict[str, torch.Tensor]) -> str:
    """Of names, shapes and values, whatever the file around them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@pytest.mark.parametrize(("name", "expected"), WEIGHTS.items(), ids=list(WEIGHTS))
def test_values_are_the_same_on_every_machine(folder, name, expected):
    weights = read_state_dict(folder / name)
    # The rotary buffer is computed, not drawn; powers may differ in the last bit.
    assert checksum({k: v for k, v in weights.items() if "rotary" not in k}) == expected


def test_files_and_size(folder):
    files = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
    parts = ("unet/config.json", "vae/config.json", "vae_temporal_decoder/config.json", "text_encoder/config.json")
    assert files == {*WEIGHTS, *parts, "scheduler/scheduler_config.json", "model_index.json"}
    assert sum((folder / f).stat().st_size for f in files) < 40e6
    assert json.loads((folder / "unet/config.json").read_text())["_class_name"] == "UNetMidBlock3DCrossAttn"
    assert "vae_temporal_decoder" not in json.loads((folder / "model_index.json").read_text())


def test_every_part_is_whole(folder):
    bundle = read_bundle(folder)
    config = recognise(bundle.unet, read_state_dict(bundle.unet)).config
    assert config == drawn.UNET
    assert all(width // config.num_heads >= 32 for width in config.widths)
    for part, expected in ((bundle.vae_image, drawn.IMAGE_VAE), (bundle.vae_temporal, drawn.TEMPORAL_VAE)):
        shapes = shapes_of(read_state_dict(next(part.glob("diffusion_pytorch_model.*"))))
        assert vae.read_config(shapes) == expected
        assert shapes == {e.diffusers: e.diffusers_shape for e in vae.entries(expected)}
    text = clip_text.normalise(read_state_dict(bundle.text_encoder / "pytorch_model.bin"))
    assert clip_text.read_config(shapes_of(text), json.loads((bundle.text_encoder / "config.json").read_text())) == drawn.TEXT
    assert drawn.TEXT.hidden_size == config.context_dim
    assert drawn.TEXT.hidden_size // drawn.TEXT.num_attention_heads >= 32


def test_no_tensor_is_inert(folder):
    for name in WEIGHTS:
        for key, tensor in read_state_dict(folder / name).items():
            assert tensor.float().isfinite().all(), key
            assert tensor.any(), key
