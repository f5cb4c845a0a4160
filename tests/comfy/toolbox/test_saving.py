"""ModelSave and CheckpointSave, and what ComfyUI's own loaders make of Cinemo files once the pack is loaded."""

import asyncio
import json
import logging
import re

import comfy.diffusers_load
import comfy.model_base
import comfy.model_detection
import comfy.sd
import comfy.supported_models
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.model import CinemoModel, CinemoSupported
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.loading import load_checkpoint
from cinemo_pack.cinemo_core.comfyui.families import DESCRIPTIONS
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.stock_loaders import stock_description
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.nodes import CinemoExtension
from cinemo_pack.tests import drawn_dynamicrafter
from cinemo_pack.tests.comfy.toolbox.files import REAL_WIDTH, weights_of
from comfy.sd1_clip import SD1ClipModel
from safetensors.torch import load_file, save_file

from .conftest import evaluate, node, relative, sample, with_hooks
from .kits import DYNAMICRAFTER, every_family, make_clip

CinemoCheckpoint = stock_description(CinemoSupported)
CHECKPOINTS = [stock_description(description) for description in DESCRIPTIONS]

TEMPORAL = re.compile("attn_temp|norm_temp|motion_embed")
FULL_SIZE = "tests/goldens/full_state_dict_keys.json"


@pytest.fixture
def before(monkeypatch) -> list:
    """ComfyUI's list of models as it is without the pack; put back afterwards."""
    models = [model for model in comfy.supported_models.models if model not in CHECKPOINTS]
    monkeypatch.setattr(comfy.supported_models, "models", models)
    return list(models)


@pytest.fixture
def pack_loaded(before) -> None:
    """As after ComfyUI has loaded the pack: `on_load` has run, twice, as a second import would run it."""
    for _ in range(2):
        asyncio.run(CinemoExtension().on_load())
    assert comfy.supported_models.models == [*reversed(CHECKPOINTS), *before]


def only_file(folder) -> str:
    (file,) = folder.rglob("*.safetensors")
    return file.relative_to(folder).as_posix()


@every_family
def test_model_save_and_load_anywhere(model, clip, kit, folder, pack_loaded):
    """Our loader, Load Diffusion Model and Load Checkpoint give the same MODEL back, patches of the saved one included."""
    model.add_patches({"diffusion_model.out.2.bias": ("diff", (torch.full((4,), 0.3),))})
    expected = sample(model, clip)
    node("ModelSave", model=model, filename_prefix="cinemo")
    name = only_file(folder)
    loaded = [
        load_unet(str(folder / name), "fp32"),
        node("UNETLoader", unet_name=name, weight_dtype="default"),
        node("CheckpointLoaderSimple", ckpt_name=name)[0],
    ]
    for found in loaded:
        assert isinstance(found.model, kit.description.model_class)
        assert relative(sample(found, clip), expected) <= kit.rounding
        make, arguments, *place = found.cached_patcher_init
        again = make(*arguments, disable_dynamic=True)
        assert relative(sample(again[place[0]] if place else again, clip), expected) <= kit.rounding


@every_family
def test_a_file_without_prefix(small_file, clip, kit, folder, pack_loaded):
    """What the pack's own converter writes."""
    save_file(load_file(small_file), folder / "unet.safetensors")
    expected = sample(load_unet(small_file, "fp32"), clip)
    for found in (
        node("UNETLoader", unet_name="unet.safetensors", weight_dtype="default"),
        node("CheckpointLoaderSimple", ckpt_name="unet.safetensors")[0],
    ):
        assert relative(sample(found, clip), expected) <= kit.rounding


@every_family
def test_stock_weight_dtype(small_file, clip, folder, pack_loaded):
    save_file(load_file(small_file), folder / "unet.safetensors")
    found = node("UNETLoader", unet_name="unet.safetensors", weight_dtype="fp8_e4m3fn")
    assert relative(evaluate(found, clip), evaluate(load_unet(small_file, "fp8_e4m3fn"), clip)) <= 1e-5


def test_checkpoint_save(drawn, clip, folder, pack_loaded):
    """One file for MODEL, CLIP and VAE under SD1.x's names; our loader and ComfyUI's find the UNet in it.

    Of text encoder and VAE ComfyUI builds the published sizes whatever the file says, so those of the drawn checkpoint stay out here.
    """
    model, text_encoder, vae = load_bundle(str(drawn), "fp32")
    node("CheckpointSave", model=model, clip=text_encoder, vae=vae, filename_prefix="cinemo")
    path = str(folder / only_file(folder))
    names = set(load_file(path))
    assert "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight" in names
    assert "first_stage_model.decoder.mid.block_1.mix_factor" in names
    found, found_text_encoder, *_ = comfy.sd.load_checkpoint_guess_config(path, output_vae=False)
    expected = sample(model, clip)
    for again in (found, load_unet(path, "fp32")):
        assert relative(sample(again, clip), expected) <= 1e-5
    assert found_text_encoder is None


@pytest.mark.parametrize("kit", [DYNAMICRAFTER], indirect=True)
def test_checkpoint_save_of_dynamicrafter(kit, folder, pack_loaded):
    """MODEL, CLIP and VAE come back from the file; the image tower has no place in the node and is missed."""
    save_file(drawn_dynamicrafter.checkpoint(base=0.3), folder / "model.safetensors")
    with torch.inference_mode():
        saved = load_checkpoint(str(folder / "model.safetensors"), "fp32")
        (folder / "model.safetensors").unlink()
        node("CheckpointSave", model=saved.model, clip=saved.clip, vae=saved.vae, filename_prefix="clip")
        again = load_checkpoint(str(folder / only_file(folder)), "fp32")
        assert "DynamiCrafter 1024, by its scale_arr" in again.report and "holds no CLIP_VISION" in again.report
        for found, expected in ((again.model.model.diffusion_model, saved.model.model.diffusion_model), (again.vae, saved.vae)):
            ours, theirs = (part.state_dict() if isinstance(part, torch.nn.Module) else part.get_sd() for part in (found, expected))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(tensor.half(), theirs[name].half()) for name, tensor in ours.items())
        texts = (node("CLIPTextEncode", clip=clip, text="a dog runs")[0][0] for clip in (again.clip, saved.clip))
        torch.testing.assert_close(*texts, rtol=0, atol=1e-5)


def test_the_text_encoder_of_a_checkpoint(pack_loaded):
    """CLIP ViT-L goes into the file under SD1.x's names, and is read as SD1.x's."""
    description = CinemoCheckpoint({"context_dim": 768})
    weights = {"clip_l.transformer.text_model.embeddings.token_embedding.weight": torch.zeros(2, 768)}
    saved = description.process_clip_state_dict_for_saving(dict(weights))
    assert list(saved) == ["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"]
    assert description.process_clip_state_dict(saved).keys() == weights.keys()
    assert description.clip_target().clip is SD1ClipModel


def test_without_the_pack_a_file_of_real_width_is_taken_for_sd15(folder, before, caplog):
    """Why the pack makes itself known to ComfyUI's loaders: they would drop what makes the clip move."""
    save_file(weights_of(REAL_WIDTH), folder / "unet.safetensors")
    with caplog.at_level(logging.WARNING):
        found = node("UNETLoader", unet_name="unet.safetensors", weight_dtype="default")
    assert type(found.model) is comfy.model_base.BaseModel and "attn_temp" in caplog.text
    for _ in range(2):
        asyncio.run(CinemoExtension().on_load())
    found = node("UNETLoader", unet_name="unet.safetensors", weight_dtype="default")
    with torch.inference_mode():
        clip = make_clip(frames=3, config=REAL_WIDTH)
        assert relative(evaluate(found, clip), evaluate(load_unet(str(folder / "unet.safetensors")), clip)) <= 1e-5


def test_other_models_are_detected_as_before(pack_loaded):
    """By their tensors, and by a configuration alone, as ComfyUI detects UNets in diffusers' layout."""
    wide = {name: tensor for name, tensor in weights_of(REAL_WIDTH).items() if not TEMPORAL.search(name)}
    for prefix in ("", "model.diffusion_model."):
        weights = {prefix + key: tensor for key, tensor in wide.items()}
        assert type(comfy.model_detection.model_config_from_unet(weights, prefix)) is comfy.supported_models.SD15
    sizes = dict(comfy.supported_models.SD15.unet_config)
    assert type(comfy.model_detection.model_config_from_unet_config(sizes)) is comfy.supported_models.SD15


@every_family
def test_damaged_file(small_weights, kit, folder, pack_loaded):
    """Refused in the words of our own loader."""
    save_file({k: w for k, w in small_weights.items() if k != "middle_block.0.in_layers.2.weight"}, folder / "unet.safetensors")
    with pytest.raises(CheckpointError, match=rf"The {kit.config.family} UNet of the checkpoint lacks 1 tensors \(middle_block"):
        node("UNETLoader", unet_name="unet.safetensors", weight_dtype="default")


def test_the_published_layout_is_refused_by_stock_loaders(drawn, folder, root, pack_loaded):
    """Diffusers names are for Cinemo Model Loader; ComfyUI's loaders find no model in them, small or at full size."""
    save_file(torch.load(drawn / "unet" / "diffusion_pytorch_model.bin", weights_only=True), folder / "unet.safetensors")
    with pytest.raises(RuntimeError, match="Could not detect model type of: .*unet.safetensors"):
        node("UNETLoader", unet_name="unet.safetensors", weight_dtype="default")
    with pytest.raises(RuntimeError, match="Could not detect model type of: "):
        comfy.diffusers_load.load_diffusers(str(drawn))
    assert isinstance(load_unet(str(folder / "unet.safetensors")).model, CinemoModel)
    names = json.loads((root / FULL_SIZE).read_text())
    weights = {name: torch.empty(shape, device="meta") for name, shape in names["keys"].items()}
    assert comfy.model_detection.model_config_from_unet(weights, "") is None
    assert comfy.model_detection.model_config_from_diffusers_unet(weights) is None


@every_family
def test_a_checkpoint_as_a_hook(model, clip, kit, small_weights, folder, pack_loaded):
    """CreateHookModelAsLora: another checkpoint's weights for one prompt only, but for those of an image projector: it has run by then."""
    others = weights_of(kit.config, "other.") | {name: w for name, w in small_weights.items() if name.startswith("image_proj_model.")}
    save_file({f"model.diffusion_model.{k}": w for k, w in others.items()}, folder / "other.safetensors")
    hooks = node("CreateHookModelAsLoraModelOnly", ckpt_name="other.safetensors", strength_model=1.0)
    hooked = with_hooks(clip, hooks)
    negative = evaluate(model, clip, cfg=0.0)
    other = load_unet(str(folder / "other.safetensors"), "fp32")
    expected = negative + 4.0 * (evaluate(other, clip) - negative)
    assert relative(evaluate(model, hooked, cfg=4.0), expected) <= 1e-5
