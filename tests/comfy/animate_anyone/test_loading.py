"""A published set, as a folder of files, becomes one MODEL."""

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.tests.comfy.animate_anyone.conftest import HEADS
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
