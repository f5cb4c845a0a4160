"""A published set, as a folder of files, becomes one MODEL."""

import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone.choices import checkpoint_choices
from cinemo_pack.cinemo_core.comfyui.animate_anyone.loading import load_checkpoint
from cinemo_pack.cinemo_core.comfyui.animate_anyone.model import AnimateAnyoneModel
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.cinemo_core.models.animate_anyone.schedule import SCALED_LINEAR, alphas_cumprod
from cinemo_pack.tests.comfy.animate_anyone.conftest import HEADS
from cinemo_pack.tests.comfy.families import animate_anyone as small
from cinemo_pack.tests.goldens import meta
from cinemo_pack.tests.goldens.animate_anyone.rule import network
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def networks() -> dict[str, dict[str, torch.Tensor]]:
    return {file: network(facts) for file, facts in meta("animate_anyone/unet_tiny_a.cases")["weights"].items()}


def write(networks, folder, suffix: str):
    for file, tensors in networks.items():
        path = folder / f"{file}{suffix}"
        torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
    return folder


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_folder_is_loaded_as_one_model(networks, tiny, tmp_path, suffix):
    folder = write(networks, tmp_path, suffix)
    (folder / "unfinished.safetensors").write_bytes(b"")  # which is none of the parts
    model = load_unet(str(folder), "fp32", ANIMATE_ANYONE, HEADS)
    expected = tiny.model.networks.state_dict()
    found = model.model.networks.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_damaged_part_is_what_the_error_names(networks, tmp_path):
    folder = write(networks, tmp_path, ".safetensors")
    (folder / "motion_module.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="motion_module.safetensors is empty; download the file again"):
        load_unet(str(folder), "fp32", ANIMATE_ANYONE, HEADS)


def test_files_of_different_sets_are_refused(networks, tmp_path):
    guider = {
        name: torch.cat([tensor, tensor]) if name.startswith("conv_out") else tensor for name, tensor in networks["pose_guider"].items()
    }
    folder = write(networks | {"pose_guider": guider}, tmp_path, ".safetensors")
    with pytest.raises(CheckpointError, match=r"has other shapes for 2 tensors \(pose_guiders.0.conv_out"):
        load_unet(str(folder), "fp32", ANIMATE_ANYONE, HEADS)


def test_sets_and_files_are_listed_and_loaded_by_name(model_folders, tmp_path, monkeypatch):
    """A folder for each set, since the names of its files are the same in all; other files and empty folders are not listed."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    for name in ("musepose", "empty"):
        (tmp_path / "animate_anyone" / name).mkdir(parents=True)
    save_file(small.weights(), tmp_path / "animate_anyone" / "musepose" / "a.safetensors")
    save_file(small.weights(), model_folders.diffusion_models / "one.safetensors")
    save_file({"other.weight": torch.zeros(1)}, model_folders.diffusion_models / "other.safetensors")
    assert checkpoint_choices() == ["musepose", "one.safetensors"]
    assert isinstance(load_checkpoint("musepose", "fp32").model, AnimateAnyoneModel)
    model = load_checkpoint("one.safetensors", "fp32", SCALED_LINEAR)
    assert isinstance(model.model, AnimateAnyoneModel)
    sigmas = model.get_model_object("model_sampling").sigmas.double()
    assert (1 / (1 + sigmas**2) - alphas_cumprod(SCALED_LINEAR)).abs().max() <= 1e-6
    with pytest.raises(CheckpointError, match="There is no Animate Anyone set two; choose one that is listed, or put denoising_unet.pth, "):
        load_checkpoint("two")
