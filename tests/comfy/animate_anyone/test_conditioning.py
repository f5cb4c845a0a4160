"""From pictures to conditioning with ComfyUI's own encoders, what is refused, and what the MODEL carries."""

from pathlib import Path

import comfy.clip_vision
import comfy.sample
import comfy.sd
import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.comfyui.animate_anyone.conditioning import FIGURE_KEY
from cinemo_pack.cinemo_core.comfyui.animate_anyone.encode import FigureSize, condition_figure
from cinemo_pack.cinemo_core.comfyui.animate_anyone.encoder import check_encoder_file, is_trained
from cinemo_pack.cinemo_core.comfyui.animate_anyone.model import AnimateAnyoneModel
from cinemo_pack.cinemo_core.comfyui.animate_anyone.reference import reference_of
from cinemo_pack.cinemo_core.comfyui.animate_anyone.windows import Windows, set_windows
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.vae import load_vae
from cinemo_pack.cinemo_core.errors import ConditioningError, InputError
from cinemo_pack.cinemo_core.files.checkpoint import read_shapes
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.cinemo_core.models.animate_anyone.keys import REFERENCE
from cinemo_pack.tests.comfy.families import animate_anyone as small
from cinemo_pack.tests.drawn import draw
from cinemo_pack.tests.workflows.animate_anyone_files import encoder_shapes, encoder_tensor
from comfy.ops import disable_weight_init
from comfy_execution.graph import DynamicPrompt
from safetensors.torch import save_file

FRAMES = 3
SIZE = FigureSize(64, 48)
TOWER = {
    "model_type": "clip_vision_model",
    "num_channels": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": 56,
    "image_size": 224,
    "hidden_act": "quick_gelu",
}


def tower(width: int) -> comfy.clip_vision.ClipVisionModel:
    encoder = comfy.clip_vision.ClipVisionModel(TOWER | {"projection_dim": width})
    encoder.load_sd({name: draw(name, tuple(tensor.shape)) for name, tensor in encoder.get_sd().items()})
    return encoder


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("animate_anyone") / "small.safetensors"
    save_file(small.weights(), path)
    return str(path)


@pytest.fixture(scope="module")
def model(path):
    return load_unet(path, "fp32")


@pytest.fixture(scope="module")
def clip_vision():
    return tower(small.CONFIG.context_dim)


@pytest.fixture(scope="module")
def vae():
    return load_vae(str(included.FOLDER / "vae" / "diffusion_pytorch_model.safetensors"))


def picture(frames: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(frames, 40, 56, 3, generator=torch.Generator().manual_seed(seed))


def sample(model, positive: list, negative: list, latent: torch.Tensor, cfg: float = 2.0) -> torch.Tensor:
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    return comfy.sample.sample(model, noise, 2, cfg, "euler", "simple", positive, negative, latent, seed=1)


@torch.inference_mode()
def test_a_clip_from_pictures(model, clip_vision, vae):
    positive, negative, latent = condition_figure(model, clip_vision, vae, picture(), [picture(FRAMES, 1)], SIZE)
    (embeds, options), (empty, others) = positive[0], negative[0]
    assert embeds.shape == (1, 1, small.CONFIG.context_dim) and not empty.any()
    assert list(options[FIGURE_KEY].bank) == small.CONFIG.attending_blocks and not others[FIGURE_KEY].bank
    assert torch.equal(options[FIGURE_KEY].poses, others[FIGURE_KEY].poses) and latent.shape == (FRAMES, 4, 6, 8)
    plain = sample(model, positive, negative, latent)
    assert plain.isfinite().all()
    for image, poses in ((picture(seed=9), picture(FRAMES, 1)), (picture(), picture(FRAMES, 8))):
        other = sample(model, *condition_figure(model, clip_vision, vae, image, [poses], SIZE))
        assert (other - plain).abs().max() > 1e-3 * plain.std(), "both the reference and the poses matter"


@torch.inference_mode()
def test_patches_of_others_and_the_bank_compose(model, clip_vision, vae):
    """Tokens that an attention patch adds are seen next to the bank: as if the bank had them too."""
    positive, negative, latent = condition_figure(model, clip_vision, vae, picture(), [picture(FRAMES, 1)], SIZE)
    bank = positive[0][1][FIGURE_KEY].bank
    more = {block: tokens.flip(-1) for block, tokens in bank.items()}

    def add(n, context, value, options):
        tokens = more[options["block"]].expand(n.shape[0], -1, -1)
        return n, torch.cat([context, tokens], dim=1), torch.cat([value, tokens], dim=1)

    patched = model.clone()
    patched.set_model_attn1_patch(add)
    found = sample(patched, positive, negative, latent, cfg=1.0)
    whole = {block: torch.cat([bank[block], more[block]], dim=1) for block in bank}
    figure = type(positive[0][1][FIGURE_KEY])(positive[0][1][FIGURE_KEY].poses, whole)
    expected = sample(model, [[positive[0][0], {FIGURE_KEY: figure}]], negative, latent, cfg=1.0)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (found - sample(model, positive, negative, latent, cfg=1.0)).abs().max() > 1e-3 * expected.abs().max()


def test_reference_net_is_not_part_of_what_is_sampled_with(model):
    reference = reference_of(model)
    modules = set(model.model.modules())
    assert not modules & set(reference.model.modules())
    assert reference not in model.get_nested_additional_models()
    assert reference_of(model.clone()).model is reference.model
    sampled = sum(4 * tensor.numel() for name, tensor in small.weights().items() if not name.startswith(REFERENCE))
    assert sampled <= model.model_size() < 1.01 * sampled  # the rest is ComfyUI's table of sigmas


def test_saved_by_comfyui_it_is_whole_again(model, tmp_path):
    comfy.sd.save_checkpoint(str(tmp_path / "saved.safetensors"), model)
    prefix = "model.diffusion_model."
    shapes = read_shapes(tmp_path / "saved.safetensors")
    saved = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    assert saved == ANIMATE_ANYONE.shapes(small.CONFIG)
    again = load_unet(str(tmp_path / "saved.safetensors"), "fp32")
    assert isinstance(again.model, AnimateAnyoneModel)
    for name, tensor in model.model.networks.state_dict().items():
        assert torch.equal(again.model.networks.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"poses": []}, "There are 0 clip\\(s\\) of poses, the model has 1 Pose Guider"),
        ({"poses": [picture(1)]}, "There is one picture of a pose; a clip needs two or more"),
        ({"poses": [picture(FRAMES), picture(FRAMES)]}, "There are 2 clip\\(s\\) of poses, the model has 1 Pose Guider"),
        ({"poses": [picture(FRAMES)[:0]]}, "The image batch is empty"),
        ({"size": FigureSize(60, 48)}, "The width is 60; choose a multiple of 8"),
        ({"size": FigureSize(64, 48, "crop")}, "The resize mode is 'crop'; choose one of stretch, cover, pad"),
        ({"vae": None}, "There is no VAE: the checkpoint held none; load a VAE of Stable Diffusion 1.x"),
        ({"clip_vision": None}, "There is no image encoder; load CLIP ViT-L/14"),
        ({"clip_vision": tower(20)}, "gives an embedding of 20 channels, this Animate Anyone model reads 24"),
    ],
)
def test_what_does_not_fit_is_refused(model, clip_vision, vae, changed, sentence):
    given = {"clip_vision": clip_vision, "vae": vae, "image": picture(), "poses": [picture(FRAMES)], "size": SIZE} | changed
    with torch.inference_mode(), pytest.raises(InputError, match=sentence):
        condition_figure(model, **given)


def test_a_model_of_another_family_is_refused(clip_vision, vae, drawn):
    other = load_unet(str(drawn / "unet" / "diffusion_pytorch_model.bin"), "fp32")
    with (
        torch.inference_mode(),
        pytest.raises(InputError, match="The model is Cinemo, not Animate Anyone; load one with Cinemo Animate Any"),
    ):
        condition_figure(other, clip_vision, vae, picture(), [picture(FRAMES)], SIZE)
    with pytest.raises(InputError, match="The model is Cinemo, not Animate Anyone"):
        set_windows(other, Windows())


NO_PROJECTION = "The file of the image encoder has no visual projection; load CLIP ViT-L/14 with it, such as"


def condition(model, encoder, vae) -> None:
    condition_figure(model, encoder, vae, picture(), [picture(FRAMES)], SIZE)


@pytest.fixture(scope="module")
def encoder_files(tmp_path_factory) -> dict[str, str]:
    """CLIP ViT-L/14 as ComfyUI's loader knows it, at its real sizes: whole, and without its projection."""
    folder = tmp_path_factory.mktemp("encoders")
    tensors = {name: encoder_tensor(name, shape) for name, shape in encoder_shapes().items()}
    torch.save(tensors, folder / "whole.bin")
    torch.save({name: tensor for name, tensor in tensors.items() if name != "visual_projection.weight"}, folder / "without.bin")
    return {path.stem: str(path) for path in folder.iterdir()}


@torch.inference_mode()
def test_an_encoder_whose_file_lacks_the_projection_is_refused_before_it_runs(model, vae, encoder_files, monkeypatch, caplog):
    """As ComfyUI loads it, with a warning; torch marks the memory that nothing is written to, which else is what it was before."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        encoder = comfy.clip_vision.load(encoder_files["without"])
    finally:
        torch.use_deterministic_algorithms(False)
    assert "missing clip vision: ['visual_projection.weight']" in caplog.text
    monkeypatch.setattr(encoder, "encode_image", None)
    weight = encoder.model.visual_projection.weight
    assert weight.isnan().all()
    with pytest.raises(InputError, match=NO_PROJECTION):
        condition(model, encoder, vae)
    # What a process had in that memory: nothing, halves of another file, a part of each.
    for left in (torch.zeros(()), torch.tensor(1e-10), torch.tensor(1e20), torch.cat([torch.full((700, 1), 0.03), torch.zeros(68, 1)])):
        weight.copy_(left.expand_as(weight))
        with pytest.raises(InputError, match=NO_PROJECTION):
            condition(model, encoder, vae)


class Hidden:
    """What ComfyUI gives a node of the graph that it is in."""

    unique_id = "10"

    def __init__(self, loader: dict):
        self.dynprompt = DynamicPrompt({"10": {"inputs": {"clip_vision": ["4", 0]}}, "4": loader})


def test_the_file_of_load_clip_vision_is_asked(encoder_files, monkeypatch):
    """Whatever was in the layer's memory; an encoder of another node, and a file that ComfyUI alone reads, go by their numbers."""
    folder = Path(encoder_files["whole"]).parent
    save_file({"visual.proj": torch.zeros(1)}, folder / "openai.safetensors")
    (folder / "odd.bin").write_bytes(b"what nobody reads")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "clip_vision", ([str(folder)], {".bin", ".safetensors"}))
    with pytest.raises(InputError, match="The file without.bin of the image encoder has no visual projection; load CLIP ViT-L/14 with it"):
        check_encoder_file(Hidden(loader={"class_type": "CLIPVisionLoader", "inputs": {"clip_name": "without.bin"}}))
    for kind, name in (
        ("CLIPVisionLoader", "whole.bin"),
        ("CLIPVisionLoader", "openai.safetensors"),
        ("CLIPVisionLoader", "odd.bin"),
        ("CLIPVisionLoader", ["7", 0]),
        ("unCLIPCheckpointLoader", "without.bin"),
    ):
        check_encoder_file(Hidden(loader={"class_type": kind, "inputs": {"clip_name": name}}))
    check_encoder_file(None)


@torch.inference_mode()
def test_the_whole_file_is_of_another_width_here(model, vae, encoder_files, monkeypatch):
    encoder = comfy.clip_vision.load(encoder_files["whole"])
    monkeypatch.setattr(encoder, "encode_image", None)
    with pytest.raises(InputError, match="gives an embedding of 768 channels, this Animate Anyone model reads 24; load CLIP ViT-L/14"):
        condition(model, encoder, vae)


@torch.inference_mode()
def test_a_projection_that_dynamic_loading_left_out_is_refused(model, vae):
    """ComfyUI's zeros then have the sides swapped, and its matrix product would fail in words about shapes."""
    encoder = tower(small.CONFIG.context_dim)
    layer = encoder.model.visual_projection
    layer.weight = None
    disable_weight_init._lazy_load_from_state_dict(layer, {}, "", {}, [], [], (layer.in_features, layer.out_features))
    with pytest.raises(InputError, match=NO_PROJECTION):
        condition(model, encoder, vae)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_projection_in_few_bits_is_one(dtype):
    assert is_trained(tower(small.CONFIG.context_dim).model.visual_projection.to(dtype))


def test_an_encoder_of_a_kind_without_projection_is_refused(model, vae):
    encoder = comfy.clip_vision.ClipVisionModel(TOWER)
    encoder.load_sd({name: draw(name, tuple(tensor.shape)) for name, tensor in encoder.get_sd().items()})
    with torch.inference_mode(), pytest.raises(InputError, match=NO_PROJECTION):
        condition(model, encoder, vae)


def test_an_encoder_that_gives_no_numbers_is_refused(model, vae):
    for value in (float("nan"), float("inf")):
        encoder = tower(small.CONFIG.context_dim)
        encoder.model.vision_model.post_layernorm.bias.data[0] = value
        with torch.inference_mode(), pytest.raises(InputError, match="gave zeros, NaN or infinite values for the picture; choose another"):
            condition(model, encoder, vae)


@torch.inference_mode()
def test_of_a_batch_of_references_the_first_is_taken_and_the_log_says_so(model, clip_vision, vae, caplog):
    with caplog.at_level("INFO"):
        several = condition_figure(model, clip_vision, vae, picture(3), [picture(FRAMES, 1)], SIZE)
    assert "The reference is a batch of 3 pictures; Animate Anyone takes the first." in caplog.text
    one = condition_figure(model, clip_vision, vae, picture(3)[:1], [picture(FRAMES, 1)], SIZE)
    banks = [positive[0][1][FIGURE_KEY].bank for positive, _, _ in (several, one)]
    assert all(torch.equal(banks[0][block], banks[1][block]) for block in banks[0])


@torch.inference_mode()
def test_a_latent_of_another_length_is_refused(model, clip_vision, vae):
    positive, negative, latent = condition_figure(model, clip_vision, vae, picture(), [picture(FRAMES, 1)], SIZE)
    with pytest.raises(ConditioningError, match="has 3 poses of 64x48, the latent has 6 frames of 64x48"):
        sample(model, positive, negative, latent.repeat(2, 1, 1, 1))
    with pytest.raises(
        InputError, match=r"The latent has 1 frame\(s\), a clip of Animate Anyone has 2 or more; make the latent with Cinemo Animate"
    ):
        sample(model, positive, negative, latent[:1])
    with pytest.raises(ConditioningError, match="got a conditioning that has no poses"):
        sample(model, [[positive[0][0], {}]], negative, latent)
