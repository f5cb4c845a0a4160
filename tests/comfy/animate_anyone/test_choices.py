"""What the loaders list, what a choice means, and sets whose files are chosen one by one."""

import asyncio
from dataclasses import replace

import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone import choices
from cinemo_pack.cinemo_core.comfyui.animate_anyone.loading import Parts, load_checkpoint, load_parts
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.cinemo_core.models.animate_anyone.schedule import LINEAR, SCALED_LINEAR, alphas_cumprod
from cinemo_pack.nodes import comfy_entrypoint
from cinemo_pack.tests.drawn_animate_anyone import UNET, published_set
from safetensors.torch import save_file

NODES = {node.__name__: node for node in asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())}
NAMES = ("denoising_unet.pth", "motion_module.pth", "reference_unet.pth", "pose_guider.pth")


@pytest.fixture
def folders(model_folders, tmp_path, monkeypatch):
    """Empty model folders, models/animate_anyone, controlnet and loras among them."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    for name in ("controlnet", "loras"):
        (tmp_path / name).mkdir()
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(tmp_path / name)], {".pth", ".safetensors"}))
    (tmp_path / "animate_anyone").mkdir()
    model_folders.sets, model_folders.controlnet = tmp_path / "animate_anyone", tmp_path / "controlnet"
    return model_folders


def write(files: dict, folder, suffix: str = ".pth"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in files.items():
        torch.save(tensors, folder / f"{name}{suffix}") if suffix == ".pth" else save_file(tensors, folder / f"{name}{suffix}")


def flat(files: dict, folders) -> None:
    """The Pose Guiders in controlnet, the others in diffusion_models."""
    guiders = {name: tensors for name, tensors in files.items() if name.startswith("pose_guider")}
    write(guiders, folders.controlnet)
    write({name: tensors for name, tensors in files.items() if name not in guiders}, folders.diffusion_models)


def options(node: str, name: str) -> list[str]:
    return NODES[node].INPUT_TYPES()["required"][name][1]["options"]


def same_weights(a, b) -> bool:
    found, expected = a.model.networks.state_dict(), b.model.networks.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_folders_of_a_set_are_listed_wherever_a_clone_of_its_repository_has_them(folders):
    write(published_set(), folders.sets / "AnimateAnyone")
    write(published_set(), folders.sets / "Muse" / "MusePose")
    write({"model": {"vision_model.embeddings.class_embedding": torch.zeros(4)}}, folders.sets / "Muse" / "image_encoder")
    assert options("CinemoAnimateAnyoneLoader", "checkpoint") == ["AnimateAnyone", "Muse/MusePose"]
    assert same_weights(load_checkpoint("AnimateAnyone", "fp32"), load_checkpoint("Muse/MusePose", "fp32"))


def test_files_that_lie_in_the_model_folder_itself_are_a_set_too(folders):
    write(published_set(), folders.sets)
    assert options("CinemoAnimateAnyoneLoader", "checkpoint") == ["animate_anyone"]
    load_checkpoint("animate_anyone", "fp32")


def test_without_a_set_the_name_of_the_published_one_is_shown_and_the_way_to_it(folders):
    assert choices.checkpoint_choices() == [] and choices.checkpoint_default() == "AnimateAnyone"
    problem = NODES["CinemoAnimateAnyoneLoader"].validate_inputs(checkpoint="AnimateAnyone")
    assert problem.startswith("There is no Animate Anyone set AnimateAnyone; put denoising_unet.pth, motion_module.pth, reference_unet.pth")
    assert "https://huggingface.co/patrolli/AnimateAnyone into models/animate_anyone/AnimateAnyone, or run `python -m" in problem
    assert NODES["CinemoAnimateAnyoneLoader"].validate_inputs(checkpoint=None) is True


def test_another_model_under_a_name_that_exists_is_described(folders):
    save_file({"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": torch.zeros(4)}, folders.checkpoints / "mm.safetensors")
    assert choices.checkpoint_choices() == [] and choices.checkpoint_problem("mm.safetensors") is None
    with pytest.raises(CheckpointError, match="is not an Animate Anyone UNet; it is an AnimateDiff motion module: choose the folder of a"):
        load_checkpoint("mm.safetensors")


def test_each_list_has_the_files_of_its_kind_alone(folders):
    flat(published_set(), folders)
    save_file({"other.weight": torch.zeros(1)}, folders.diffusion_models / "other.safetensors")
    node = "CinemoAnimateAnyonePartsLoader"
    assert options(node, "denoising_unet") == ["denoising_unet.pth"]
    assert options(node, "motion_module") == ["none", "motion_module.pth"]
    assert options(node, "reference_unet") == ["denoising_unet.pth", "reference_unet.pth"]  # the face re-enactment set has it with a head
    assert options(node, "pose_guider") == ["pose_guider.pth"] and options(node, "second_pose_guider") == ["none", "pose_guider.pth"]
    defaults = {i.id: i.default for i in NODES[node].define_schema().inputs}
    assert tuple(defaults[name.removesuffix(".pth")] for name in NAMES) == NAMES and defaults["second_pose_guider"] == "none"


def test_files_chosen_one_by_one_are_the_model_of_their_folder(folders):
    flat(published_set(), folders)
    write(published_set(), folders.sets / "whole")
    assert same_weights(load_parts(Parts(*NAMES), "fp32"), load_checkpoint("whole", "fp32"))


def test_files_of_one_name_in_several_folders(folders):
    for part, tensors in published_set().items():
        write({"model": tensors}, (folders.controlnet if part == "pose_guider" else folders.diffusion_models) / part)
    load_parts(Parts(*(f"{name.removesuffix('.pth')}/model.pth" for name in NAMES)), "fp32")


def test_the_face_reenactment_set_has_its_motion_modules_in_the_unet_and_guiders_in_the_order_chosen(folders):
    files = published_set()
    second = {name: -tensor for name, tensor in files["pose_guider"].items()}
    flat({"denoising_unet": files["denoising_unet"] | files["motion_module"], "reference_unet": files["denoising_unet"]}, folders)
    write({"b": files["pose_guider"], "a": second}, folders.controlnet)
    model = load_parts(Parts("denoising_unet.pth", "none", "reference_unet.pth", "b.pth", "a.pth"), "fp32")
    guiders = model.model.diffusion_model.pose_guiders
    assert torch.equal(guiders[0].conv_out.weight, -guiders[1].conv_out.weight)
    assert torch.equal(guiders[0].conv_out.weight, files["pose_guider"]["conv_out.weight"])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"motion_module": "none"}, "choice of files lacks the motion module of an Animate Anyone set; found: denoising_unet.pth"),
        ({"reference_unet": "pose_guider.pth"}, "pose_guider.pth is not the reference_unet of an Animate Anyone set, by the names of its"),
        ({"pose_guider": "gone.pth"}, "There is no file gone.pth for pose_guider in models/diffusion_models or models/controlnet; put"),
    ],
)
def test_a_choice_that_is_no_set_is_refused(folders, changed, sentence):
    flat(published_set(), folders)
    given = {name.removesuffix(".pth"): name for name in NAMES} | changed
    if "none" not in changed.values():
        assert sentence in NODES["CinemoAnimateAnyonePartsLoader"].validate_inputs(**given)
    with pytest.raises(CheckpointError, match=sentence):
        load_parts(Parts(**given))


def test_animatediffs_first_motion_module_is_named(folders):
    files = published_set()
    files["motion_module"] = {name: tensor for name, tensor in files["motion_module"].items() if not name.startswith("mid_block.")}
    write(files, folders.sets / "mixed")
    with pytest.raises(CheckpointError, match=r"motion_module.pth is a motion module of AnimateDiff's first version, without one for the"):
        load_checkpoint("mixed")


def test_two_motion_modules_are_not_chosen_from_in_silence(folders):
    files = published_set()
    write(files | {"denoising_unet": files["denoising_unet"] | files["motion_module"]}, folders.sets / "mixed")
    with pytest.raises(CheckpointError, match=r"with motion modules \(denoising_unet.pth\), and motion_module.pth of another set; keep"):
        load_checkpoint("mixed")


@pytest.mark.parametrize(("positions", "betas"), [(32, LINEAR), (128, SCALED_LINEAR)])
def test_betas_are_those_of_the_publisher(folders, positions, betas):
    """MusePose is known by its table of 128 positions; a choice goes before it."""
    write(published_set(replace(UNET, positions=positions)), folders.sets / "set")
    for choice, expected in (("auto", betas), (LINEAR, LINEAR), (SCALED_LINEAR, SCALED_LINEAR)):
        sigmas = load_checkpoint("set", "fp32", choice).get_model_object("model_sampling").sigmas.double()
        assert (1 / (1 + sigmas**2) - alphas_cumprod(expected)).abs().max() <= 1e-6


def test_a_set_made_into_one_file_is_listed_with_the_models(folders):
    files = published_set()
    whole = {f"{file}.{name}": tensor for file, tensors in files.items() for name, tensor in tensors.items()}
    save_file(ANIMATE_ANYONE.normalise(whole), folders.checkpoints / "one.safetensors")
    write(files, folders.sets / "four")
    assert choices.checkpoint_choices() == ["four", "one.safetensors"]
    assert same_weights(load_checkpoint("one.safetensors", "fp32"), load_checkpoint("four", "fp32"))
