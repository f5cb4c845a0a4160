"""What the DynamiCrafter loader lists: files by their tensors, from their headers alone, and no bad file in the way of the others."""

import os

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui import files
from cinemo_pack.cinemo_core.comfyui.dynamicrafter import choices
from cinemo_pack.cinemo_core.errors import CheckpointError
from safetensors.torch import save_file

PREFIX = "model.diffusion_model."
MINE = {f"{PREFIX}init_attn.0.proj_in.weight": torch.zeros(1), f"{PREFIX}input_blocks.1.1.x.attn2.to_k_ip.weight": torch.zeros(1)}
OTHER = {f"{PREFIX}input_blocks.0.0.weight": torch.zeros(1)}


def test_files_are_listed_by_their_tensors(model_folders):
    save_file(MINE, model_folders.checkpoints / "a.safetensors")
    (model_folders.diffusion_models / "video").mkdir()
    save_file(MINE, model_folders.diffusion_models / "video" / "b.safetensors")
    torch.save({"state_dict": MINE}, model_folders.checkpoints / "model.ckpt")
    torch.save(
        {"module": {f"_forward_module.{k}": v for k, v in MINE.items()}},
        model_folders.checkpoints / "old.pt",
        _use_new_zipfile_serialization=False,
    )
    save_file(OTHER, model_folders.checkpoints / "dynamicrafter_512.safetensors")
    torch.save(OTHER, model_folders.checkpoints / "sd.ckpt")
    assert choices.checkpoint_choices() == ["a.safetensors", "model.ckpt", "old.pt", "video/b.safetensors"]
    assert choices.checkpoint_default() == "a.safetensors"
    assert choices.resolve_checkpoint("video/b.safetensors") == str(model_folders.diffusion_models / "video" / "b.safetensors")


def test_bad_files_do_not_take_the_list_down(model_folders):
    good = model_folders.checkpoints / "good.safetensors"
    save_file(MINE, good)
    bad = {
        "empty": b"",
        "web": b"<html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1",
        "cut": good.read_bytes()[:40],
        "noise": os.urandom(999),
    }
    for name, content in bad.items():
        for suffix in (".safetensors", ".ckpt"):
            (model_folders.checkpoints / f"{name}{suffix}").write_bytes(content)
    os.symlink("nowhere", model_folders.checkpoints / "link.safetensors")
    assert choices.checkpoint_choices() == ["good.safetensors"]


def test_a_file_is_read_again_only_after_it_has_changed(model_folders, monkeypatch):
    path = model_folders.checkpoints / "a.safetensors"
    save_file(OTHER, path)
    read = []
    monkeypatch.setattr(files, "read_names", lambda path, names=files.read_names: read.append(path) or names(path))
    assert choices.checkpoint_choices() == choices.checkpoint_choices() == []
    assert len(read) == 1
    save_file(MINE, path)
    assert choices.checkpoint_choices() == choices.checkpoint_choices() == ["a.safetensors"]
    assert len(read) == 2


def test_a_name_without_a_file_says_where_files_go(model_folders):
    message = (
        r"^There is no checkpoint gone.safetensors in models/checkpoints or models/diffusion_models; put model.ckpt \(about 10.4 GB, for "
        r"research and non-commercial use\) of https://huggingface.co/Doubiiu/DynamiCrafter_512 into models/checkpoints, or run "
        r"`python -m cinemo_core.download dynamicrafter_512` in the folder of this pack, and press R\.$"
    )
    with pytest.raises(CheckpointError, match=message):
        choices.resolve_checkpoint("gone.safetensors")
    assert choices.checkpoint_default() == "dynamicrafter_512.safetensors"
    for name in ("gone.safetensors", "../checkpoints", "", None, 3):
        assert "There is no checkpoint" in choices.checkpoint_problem(name)
    save_file(MINE, model_folders.checkpoints / "a.safetensors")
    assert "choose one that is listed, or put model.ckpt" in choices.checkpoint_problem("gone.safetensors")


def test_a_file_of_another_model_passes_validation_and_is_named_where_it_is_loaded(model_folders):
    """A name from a saved graph, whose file was replaced."""
    save_file(OTHER, model_folders.checkpoints / "a.safetensors")
    assert choices.checkpoint_problem("a.safetensors") is None
