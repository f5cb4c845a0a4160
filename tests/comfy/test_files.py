"""What the loader nodes list, and what the names resolve to."""

import logging
import shutil

import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo import choices
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.tests.links import link
from safetensors.torch import save_file

# Names enough to recognise a network by.
MINE = {
    "add_embedding.linear_1.weight": torch.zeros(1),
    "down_blocks.0.attn_temp.time_rel_pos_bias.relative_attention_bias.weight": torch.zeros(1),
}
OTHER = {"conv_in.weight": torch.zeros(1)}


@pytest.fixture
def checkpoint(drawn, model_folders):
    """The drawn checkpoint in the diffusers folder."""
    shutil.copytree(drawn, model_folders.diffusers / "Cinemo")
    return model_folders.diffusers / "Cinemo"


def touch(path, tensors=MINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    path.chmod(0o644)
    return path


def test_nothing_to_choose(model_folders):
    assert choices.unet_choices() == []
    assert choices.bundle_choices() == []


def test_files_and_folders_are_listed_by_relative_name(checkpoint, model_folders):
    touch(model_folders.diffusion_models / "cinemo.pt")
    touch(model_folders.diffusion_models / "video" / "cinemo_fp16.safetensors")
    touch(model_folders.diffusion_models / "notes.txt")
    touch(model_folders.diffusers / "hub" / "snapshots" / "abc" / "unet" / "diffusion_pytorch_model.bin")
    touch(model_folders.diffusers / "unet_alone" / "diffusion_pytorch_model.safetensors")
    touch(model_folders.diffusers / "pipeline_without_unet" / "model_index.json")
    touch(model_folders.diffusers / "pipeline_without_unet" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert choices.unet_choices() == [
        "Cinemo/unet",
        "cinemo.pt",
        "hub/snapshots/abc/unet",
        "unet_alone",
        "video/cinemo_fp16.safetensors",
    ]
    assert choices.bundle_choices() == ["Cinemo", "hub/snapshots/abc"]
    assert choices.resolve_unet("video/cinemo_fp16.safetensors") == str(
        model_folders.diffusion_models / "video" / "cinemo_fp16.safetensors"
    )
    assert choices.resolve_unet("Cinemo/unet") == str(checkpoint / "unet" / "diffusion_pytorch_model.bin")
    assert choices.resolve_unet("unet_alone") == str(model_folders.diffusers / "unet_alone" / "diffusion_pytorch_model.safetensors")


def test_only_networks_of_cinemo_are_listed_but_every_name_resolves(model_folders):
    """So that choosing another file, as a saved workflow may, says what it is."""
    other = touch(model_folders.diffusion_models / "cinemo.safetensors", OTHER)
    touch(model_folders.diffusers / "Cinemo" / "unet" / "diffusion_pytorch_model.bin", OTHER)
    touch(model_folders.diffusers / "shards" / "unet" / "diffusion_pytorch_model-00001-of-00002.bin", OTHER)
    touch(model_folders.diffusers / "shards" / "unet" / "diffusion_pytorch_model-00002-of-00002.bin")
    assert choices.unet_choices() == ["shards/unet"]  # which says when chosen that its shards are to be merged
    assert choices.bundle_choices() == ["shards"]
    assert choices.unet_problem("cinemo.safetensors") is choices.bundle_problem("Cinemo") is None
    assert choices.resolve_unet("cinemo.safetensors") == str(other)


def test_a_damaged_file_is_not_listed_and_the_log_says_once_why(model_folders, caplog):
    path = touch(model_folders.diffusion_models / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert choices.unet_choices() == choices.unet_choices() == []
    (said,) = (record.getMessage() for record in caplog.records if "cut.safetensors" in record.getMessage())
    assert said.startswith("Not listed") and "download" in said


def test_list_refreshes_without_restart(model_folders):
    assert choices.unet_choices() == []
    added = touch(model_folders.diffusion_models / "late.safetensors")
    touch(model_folders.diffusers / "Late" / "unet" / "weights.bin")
    assert choices.unet_choices() == ["Late/unet", "late.safetensors"]
    assert choices.bundle_choices() == ["Late"]
    added.unlink()
    assert choices.unet_choices() == ["Late/unet"]


def test_extra_model_paths(drawn, model_folders, tmp_path):
    touch(tmp_path / "other" / "elsewhere.safetensors")
    shutil.copytree(drawn, tmp_path / "sets" / "Mine")
    folder_paths.add_model_folder_path("diffusion_models", str(tmp_path / "other"))
    folder_paths.add_model_folder_path("diffusers", str(tmp_path / "sets"))
    assert choices.unet_choices() == ["Mine/unet", "elsewhere.safetensors"]
    assert choices.bundle_choices() == ["Mine"]
    assert choices.resolve_unet("elsewhere.safetensors") == str(tmp_path / "other" / "elsewhere.safetensors")
    assert choices.resolve_bundle("Mine").folder == tmp_path / "sets" / "Mine"


def test_extra_model_path_that_is_the_checkpoint_itself(drawn, model_folders):
    folder_paths.add_model_folder_path("diffusers", str(drawn))
    assert choices.bundle_choices() == [drawn.name]
    assert choices.resolve_bundle(drawn.name).unet.parent == drawn / "unet"


def test_first_folder_wins_where_names_are_equal(drawn, model_folders, tmp_path):
    touch(model_folders.diffusion_models / "same.safetensors")
    touch(tmp_path / "other" / "same.safetensors")
    folder_paths.add_model_folder_path("diffusion_models", str(tmp_path / "other"))
    assert choices.unet_choices() == ["same.safetensors"]
    assert choices.resolve_unet("same.safetensors") == str(model_folders.diffusion_models / "same.safetensors")


def test_folders_that_contain_each_other_end(model_folders):
    inner = model_folders.diffusers / "a" / "b"
    inner.mkdir(parents=True)
    link(inner / "loop", model_folders.diffusers)
    touch(model_folders.diffusers / "Cinemo" / "unet" / "weights.bin")
    assert choices.bundle_choices() == ["Cinemo"]


def test_parts_of_the_published_layout(checkpoint):
    (checkpoint / "tokenizer").mkdir()
    (checkpoint / "unet" / "diffusion_pytorch_model.bin").rename(checkpoint / "cinemo.pt")
    touch(checkpoint / "unet" / "diffusion_pytorch_model.bin")
    bundle = choices.resolve_bundle("Cinemo")
    assert bundle.unet == checkpoint / "unet" / "diffusion_pytorch_model.bin"  # not cinemo.pt, which holds the same weights
    assert bundle.vae_image == checkpoint / "vae"
    assert bundle.vae_temporal == checkpoint / "vae_temporal_decoder"
    assert bundle.text_encoder == checkpoint / "text_encoder"
    assert bundle.tokenizer == checkpoint / "tokenizer"
    assert bundle.scheduler == checkpoint / "scheduler" / "scheduler_config.json"
    assert choices.resolve_bundle(str(checkpoint)) == bundle


@pytest.mark.parametrize("name", ["absent.safetensors", "../escape.safetensors", ""])
def test_unknown_names_say_where_files_go(model_folders, name):
    touch(model_folders.diffusion_models.parent / "escape.safetensors")
    with pytest.raises(CheckpointError, match="models/diffusion_models"):
        choices.resolve_unet(name)
    with pytest.raises(CheckpointError, match="models/diffusers"):
        choices.resolve_bundle(name)


def test_a_link_to_a_checkpoint_is_another_name_of_it(checkpoint, model_folders):
    link(model_folders.diffusers / "link", checkpoint)
    assert choices.bundle_choices() == ["Cinemo", "link"]


def test_leftovers_of_operating_systems_are_no_weights(checkpoint, model_folders):
    touch(model_folders.diffusion_models / "._cinemo.safetensors")
    touch(model_folders.diffusion_models / "video" / "._cinemo.safetensors")
    touch(model_folders.diffusers / "__MACOSX" / "Cinemo" / "unet" / "diffusion_pytorch_model.bin")
    touch(model_folders.diffusers / "mine" / "cinemo.safetensors")
    touch(model_folders.diffusers / "mine" / "._cinemo.safetensors")
    assert choices.unet_choices() == ["Cinemo/unet", "mine"]
    assert choices.resolve_unet("mine") == str(model_folders.diffusers / "mine" / "cinemo.safetensors")


def test_links_that_lead_nowhere_are_left_out(checkpoint, model_folders):
    """Path.is_dir raises for the last, as it does for a share that went away."""
    for number, target in enumerate(("nowhere", "2", "x" * 300)):
        for folder in (model_folders.diffusers, model_folders.diffusion_models, checkpoint):
            link(folder / f"{number}", target)
            link(folder / f"{number}.safetensors", target)
        (model_folders.diffusers / f"unet_{number}").mkdir()
        link(model_folders.diffusers / f"unet_{number}" / "unet", target)
    assert choices.unet_choices() == ["Cinemo/unet"]
    assert choices.bundle_choices() == ["Cinemo"]
    assert choices.resolve_bundle("Cinemo").vae_image == checkpoint / "vae"


def test_a_part_whose_weights_went_away_is_named(checkpoint):
    weights = checkpoint / "unet" / "diffusion_pytorch_model.bin"
    weights.unlink()
    link(weights, "../../blobs/gone")
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin is a link that leads nowhere, or cannot be reached; download"):
        choices.resolve_bundle("Cinemo")


@pytest.mark.parametrize("mode", [0o700, 0o744])
def test_folders_that_may_not_be_entered_are_left_out(model_folders, monkeypatch, as_nobody, mode):
    """0o744: may be listed but not entered, for which ComfyUI's own list raises."""
    for name in ("diffusion_models", "diffusers"):
        root = as_nobody.folder / name
        touch(root / "private" / "inner" / "unet" / "x.safetensors")
        touch(root / "open" / "unet" / "y.safetensors")
        (root / "private").chmod(mode)
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(root)], folder_paths.folder_names_and_paths[name][1]))
    with as_nobody():
        assert choices.bundle_choices() == ["open"]
        assert "open/unet" in choices.unet_choices()
        assert not [name for name in choices.unet_choices() if "private" in name]
        assert choices.unet_default() == "open/unet"
        with pytest.raises(CheckpointError, match="There is no UNet private/inner/unet"):
            choices.resolve_unet("private/inner/unet")
        with pytest.raises(CheckpointError, match="is not a folder, or cannot be reached"):
            choices.resolve_bundle(str(as_nobody.folder / "diffusers" / "private" / "inner"))
