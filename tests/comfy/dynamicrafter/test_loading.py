"""Loading what people have: whole, pruned and split files, pickles of both kinds; which variant; what each lack or misfit says."""

from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.sd
import comfy.supported_models
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui import stock_loaders
from cinemo_pack.cinemo_core.comfyui.absent import Absent
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.loading import load_checkpoint
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.model import DynamiCrafterModel, DynamiCrafterSupported
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.toon import ToonDecoder
from cinemo_pack.cinemo_core.convert import convert
from cinemo_pack.cinemo_core.errors import CheckpointError, CinemoError, MissingPartError
from cinemo_pack.cinemo_core.models.dynamicrafter.keys import normalise
from cinemo_pack.tests import drawn_dynamicrafter as drawn
from comfy_execution import caching
from safetensors.torch import save_file

import nodes

PRUNED = ("network", "vae")
MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def whole() -> dict[str, torch.Tensor]:
    return drawn.checkpoint()


@pytest.fixture
def write(tmp_path):
    """Writes a file, safetensors or a pickle by its name, and gives its path."""

    def write(contents: dict, name: str = "model.safetensors", zipped: bool = True) -> str:
        path = tmp_path / name
        if name.endswith("safetensors"):
            save_file({key: tensor.contiguous() for key, tensor in contents.items()}, path)
        else:
            torch.save(contents, path, _use_new_zipfile_serialization=zipped)
        return str(path)

    return write


def of(whole: dict, *parts: str) -> dict[str, torch.Tensor]:
    return {name: whole[name] for name in drawn.checkpoint(parts)}


def weights(model) -> dict[str, torch.Tensor]:
    return model.model.diffusion_model.state_dict()


def test_a_whole_file_gives_comfyuis_own_objects(whole, write):
    loaded = load_checkpoint(write(whole), "fp16")
    assert type(loaded.model.model) is DynamiCrafterModel
    assert type(loaded.clip) is comfy.sd.CLIP and type(loaded.vae) is comfy.sd.VAE
    assert type(loaded.clip_vision) is comfy.clip_vision.ClipVisionModel
    expected = normalise(whole)
    found = weights(loaded.model)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert loaded.clip.encode_from_tokens(loaded.clip.tokenize("a bear plays a guitar")).shape == (1, 77, drawn.TEXT_WIDTH)
    comfy.model_management.load_model_gpu(loaded.clip_vision.patcher)
    assert loaded.clip_vision.model(pixel_values=torch.zeros(1, 3, 224, 224))[0].shape == (1, 50, drawn.IMAGE_WIDTH)
    latent = loaded.vae.encode(torch.rand(1, 32, 48, 3))
    assert latent.shape == (1, 4, 4, 6) and loaded.vae.decode(latent).isfinite().all()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("wrap", ["state_dict", "module", None])
def test_pickles_give_the_same_model(whole, write, wrap, zipped):
    """As the authors save it, as DeepSpeed does, with its longer prefix, and bare."""
    prefix = "_forward_module." if wrap == "module" else ""
    contents = {prefix + name: tensor for name, tensor in whole.items()}
    loaded = load_checkpoint(write({wrap: contents, "global_step": 7} if wrap else contents, "model.ckpt", zipped), "fp16")
    found, expected = weights(loaded.model), normalise(whole)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert not any(isinstance(part, Absent) for part in (loaded.clip, loaded.vae, loaded.clip_vision))


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        (PRUNED, {"clip": "no text encoder", "clip_vision": "no image encoder"}),
        (("network",), {"clip": "no text encoder", "vae": "no VAE", "clip_vision": "no image encoder"}),
        (("network", "vae", "text"), {"clip_vision": "no image encoder"}),
        (("network", "image"), {"clip": "no text encoder", "vae": "no VAE"}),
    ],
    ids=["pruned", "split", "without image tower", "image tower alone"],
)
def test_what_a_file_lacks_is_said_where_it_is_used_and_in_the_report(whole, write, parts, missing):
    loaded = load_checkpoint(write(of(whole, *parts), "some.safetensors"), "fp16")
    uses = {"clip": lambda clip: clip.tokenize("x"), "vae": lambda vae: vae.encode(1), "clip_vision": lambda vision: vision.model(1)}
    for part, use in uses.items():
        found = getattr(loaded, part)
        assert isinstance(found, Absent) == (part in missing)
        if part in missing:
            with pytest.raises(
                MissingPartError, match=rf"^some.safetensors holds {missing[part]}; load .* with Load (CLIP|VAE|CLIP Vision)\.$"
            ):
                use(found)
            assert not hasattr(found, "is_dynamic")  # as ComfyUI's cache asks
        assert (f"holds no {part.upper()};" in loaded.report) == (part in missing)


def test_stock_nodes_and_the_cache_of_results_meet_a_missing_part(whole, write):
    """As a graph runs them: the sentence where it is used, and none where ComfyUI only looks at what a node gave."""
    loaded = load_checkpoint(write(of(whole, "network"), "some.safetensors"), "fp16")
    with pytest.raises(MissingPartError, match="holds no text encoder"):
        nodes.CLIPTextEncode().encode(loaded.clip, "a bear")
    with pytest.raises(MissingPartError, match="holds no text encoder"):
        nodes.CLIPSetLastLayer().set_last_layer(loaded.clip, -2)
    with pytest.raises(MissingPartError, match="holds no VAE"):
        nodes.VAEDecode().decode(loaded.vae, {"samples": torch.zeros(1, 4, 2, 2)})
    with pytest.raises(MissingPartError, match="holds no image encoder"):
        nodes.CLIPVisionEncode().encode(loaded.clip_vision, torch.zeros(1, 8, 8, 3), "center")
    assert not caching.all_outputs_dynamic([[loaded.clip], [loaded.vae], [loaded.clip_vision]])


def test_other_number_formats(whole, write):
    for form in (torch.bfloat16, torch.float32):
        loaded = load_checkpoint(write({name: tensor.to(form) for name, tensor in whole.items()}), "default")
        assert not any(isinstance(part, Absent) for part in (loaded.clip, loaded.vae, loaded.clip_vision))
        expected = whole["image_proj_model.proj_in.weight"].to(form).float()
        assert torch.equal(weights(loaded.model)["image_proj_model.proj_in.weight"].float(), expected)


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux says which memory is a file's")
def test_the_weights_of_the_file_are_not_copied(whole, write):
    path = write(whole)
    loaded = load_checkpoint(path, "fp16")
    lines = [line for line in MAPS.read_text(encoding="utf-8").splitlines() if line.endswith(path)]
    ranges = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in lines]
    networks = (loaded.model.model.diffusion_model, loaded.clip_vision.model, loaded.clip.cond_stage_model.clip_h.transformer)
    for network in networks:
        copied = [
            name for name, tensor in network.state_dict().items() if not any(start <= tensor.data_ptr() < end for start, end in ranges)
        ]
        assert set(copied) <= {"visual_projection.weight", "text_projection.weight"}, "the file has them transposed"


@pytest.mark.parametrize(
    ("contents", "variant", "expected", "reason"),
    [
        ({"base": 0.7}, "auto", "512", "by its scale_arr, and 512 interpolation is like it in that"),
        ({"base": 0.7}, "512 interpolation", "512 interpolation", "as variant says"),
        ({"base": 0.3}, "auto", "1024", "by its scale_arr"),
        ({"config": drawn.GATED, "parts": PRUNED}, "auto", "256", "by the gates in it"),
        (
            {"parts": PRUNED},
            "auto",
            "512",
            "because the file does not say which it is; if it is 1024, 512 interpolation or ToonCrafter, set variant to that",
        ),
        ({"parts": PRUNED}, "1024", "1024", "as variant says"),
    ],
)
def test_the_variant_is_what_the_file_says_or_the_person_and_the_report_says_which(write, contents, variant, expected, reason):
    loaded = load_checkpoint(write(drawn.checkpoint(**{"parts": ("network", "schedule")} | contents)), "fp16", variant)
    assert loaded.model.model.variant.name == expected
    assert loaded.report.startswith(f"model.safetensors: DynamiCrafter {expected}, {reason}.\n")


@pytest.mark.parametrize(
    ("contents", "variant", "message"),
    [
        ({"base": 0.7}, "1024", r"is DynamiCrafter 512 by its scale_arr, not 1024; set variant to auto or 512\."),
        ({"config": drawn.GATED}, "512", r"is DynamiCrafter 256 by the gates in it, not 512; set variant to auto or 256\."),
        ({"parts": PRUNED}, "256", r"lacks the gates of DynamiCrafter 256; set variant to auto, or to the model that it is\."),
        ({"base": 0.5}, "auto", r"dynamic rescale to 0\.5 \(scale_arr\), expected 0\.7 \(512\) or 0\.3 \(1024\)"),
        ({"base": 0.5}, "512", r"dynamic rescale to 0\.5 \(scale_arr\), expected 0\.7 \(512\) or 0\.3 \(1024\)"),
    ],
)
def test_a_variant_that_the_file_contradicts(write, contents, variant, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(write(drawn.checkpoint(**{"parts": ("network", "schedule")} | contents)), "fp16", variant)


def test_a_tooncrafter_file_brings_its_own_vae(whole, write):
    tensors = of(whole, "network") | {f"first_stage_model.{name}": tensor for name, tensor in drawn.toon_vae().items()}
    loaded = load_checkpoint(write(tensors), "fp16")
    assert loaded.model.model.variant.name == "ToonCrafter" and isinstance(loaded.vae.first_stage_model.decoder, ToonDecoder)
    assert loaded.report.startswith("model.safetensors: ToonCrafter, by its VAE.\n")
    assert "decode with Cinemo ToonCrafter Decode" in loaded.report
    load, arguments = loaded.vae.patcher.cached_patcher_init
    assert load(*arguments).model.state_dict().keys() == loaded.vae.first_stage_model.state_dict().keys()
    with pytest.raises(CheckpointError, match=r"The VAE in .* lacks 1 tensors \(decoder.attn_refinement.4.conv.bias\)"):
        load_checkpoint(write({n: t for n, t in tensors.items() if not n.endswith("attn_refinement.4.conv.bias")}), "fp16")


def without_projector(whole: dict) -> dict:
    return {name: tensor for name, tensor in whole.items() if not name.startswith("image_proj_model.")}


def other_text_width(whole: dict) -> dict:
    return whole | {"cond_stage_model.model.token_embedding.weight": torch.zeros(49408, 128, dtype=torch.half)}


def other_image_width(whole: dict) -> dict:
    return whole | {"embedder.model.visual.class_embedding": torch.zeros(160, dtype=torch.half)}


def incomplete(name: str):
    def lose(whole: dict) -> dict:
        return {key: tensor for key, tensor in whole.items() if key != name}

    return lose


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_projector, r"holds a UNet without its image projector \(image_proj_model\.\*\).* choose a file that holds both"),
        (other_text_width, r"text tower in .*model.safetensors is 128 channels wide, but its network reads 64"),
        (other_image_width, r"image tower in .*model.safetensors is 160 channels wide, but its network reads 80"),
        (incomplete("model.diffusion_model.out.2.bias"), r"lacks 1 tensors \(out.2.bias\)"),
        (incomplete("image_proj_model.norm_out.bias"), r"lacks 1 tensors \(image_proj_model.norm_out.bias\)"),
        (incomplete("first_stage_model.decoder.conv_out.bias"), r"The VAE in .* lacks 1 tensors \(decoder.conv_out.bias\)"),
        (incomplete("cond_stage_model.model.ln_final.bias"), r"The text tower in .* lacks 1 tensors"),
        (incomplete("embedder.model.visual.ln_pre.bias"), r"The image tower in .* lacks 1 tensors"),
    ],
)
def test_files_that_are_refused_in_one_sentence(whole, write, change, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(write(change(whole)), "fp16")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_comfyuis_load_checkpoint_takes_the_published_layout_for_what_it_is(whole, write, monkeypatch):
    monkeypatch.setattr(comfy.supported_models, "models", list(comfy.supported_models.models))
    stock_loaders.register()
    sd = {name: tensor.float() for name, tensor in drawn.checkpoint(PRUNED, base=0.3).items()} | drawn.schedule(0.3)
    model, *_ = comfy.sd.load_state_dict_guess_config(dict(sd), output_vae=False, output_clip=False)
    assert type(model.model) is DynamiCrafterModel and model.model.variant.name == "1024"
    found, expected = weights(model), normalise(sd)
    assert found.keys() == expected.keys() and all(torch.equal(found[name].float(), tensor) for name, tensor in expected.items())


def test_load_checkpoint_says_that_it_drops_tooncrafters_pictures(caplog):
    description = stock_loaders.stock_description(DynamiCrafterSupported)({})
    assert description.process_vae_state_dict(drawn.toon_vae()).keys() == drawn.toon_vae().keys()
    assert "load the checkpoint with Cinemo DynamiCrafter Loader" in caplog.text
    caplog.clear()
    description.process_vae_state_dict({"decoder.conv_in.weight": torch.zeros(1)})
    assert not caplog.text


def test_load_diffusion_model_says_that_it_drops_the_projector(whole, monkeypatch):
    monkeypatch.setattr(comfy.supported_models, "models", list(comfy.supported_models.models))
    stock_loaders.register()
    with pytest.raises(CheckpointError, match=r"without its image projector .* load it with Cinemo DynamiCrafter Loader"):
        comfy.sd.load_diffusion_model_state_dict(dict(whole))


def test_a_saved_model_loads_again(whole, write):
    """As CheckpointSave writes it: the names used here, everything under ComfyUI's prefixes."""
    loaded = load_checkpoint(write(whole), "fp16")
    saved = loaded.model.model.state_dict_for_saving(
        {name: tensor.clone() for name, tensor in weights(loaded.model).items()},
        {name: tensor.clone() for name, tensor in loaded.clip.get_sd().items()},
        {name: tensor.clone() for name, tensor in loaded.vae.get_sd().items()},
        {name: tensor.clone() for name, tensor in loaded.clip_vision.get_sd().items()},
    )
    again = load_checkpoint(write(saved, "saved.safetensors"), "fp16")
    for found, expected in ((weights(again.model), weights(loaded.model)), (again.clip.get_sd(), loaded.clip.get_sd())):
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    assert not isinstance(again.vae, Absent) and not isinstance(again.clip_vision, Absent)


@pytest.mark.parametrize(("config", "variant"), [(drawn.UNET, "512"), (drawn.UNET, "1024"), (drawn.GATED, "256")])
def test_a_saved_model_says_which_variant_it_is(write, tmp_path, monkeypatch, config, variant):
    """As ModelSave writes it, for each of the three loaders, and converted."""
    monkeypatch.setattr(comfy.supported_models, "models", list(comfy.supported_models.models))
    stock_loaders.register()
    loaded = load_checkpoint(write(drawn.checkpoint(PRUNED, config)), "fp32", variant)
    saved = loaded.model.model.state_dict_for_saving({name: tensor.clone() for name, tensor in weights(loaded.model).items()})
    path = write(saved, "saved.safetensors")
    convert(Path(path), tmp_path / "converted.safetensors", None, False, lambda *_: None)
    models = [load_checkpoint(found, "fp32").model for found in (path, str(tmp_path / "converted.safetensors"))]
    models.append(comfy.sd.load_diffusion_model_state_dict(dict(saved)))
    models.append(comfy.sd.load_state_dict_guess_config(dict(saved), output_vae=False, output_clip=False)[0])
    for model in models:
        found = weights(model)
        assert model.model.variant.name == variant
        assert all(torch.equal(found[name].float(), tensor.float()) for name, tensor in weights(loaded.model).items())


def test_every_patcher_can_be_read_from_disk_again(whole, write):
    loaded = load_checkpoint(write(whole), "fp16")
    for patcher in (loaded.model, loaded.clip.patcher, loaded.vae.patcher, loaded.clip_vision.patcher):
        load, arguments = patcher.cached_patcher_init
        again = load(*arguments, disable_dynamic=True)
        found, expected = again.model.state_dict(), patcher.model.state_dict()
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_no_error_but_this_packs(whole, write):
    """A text where the scales should be, and a scale of no length, are refused like any other misfit."""
    for scales in (torch.zeros(0), torch.zeros(2, 2), torch.tensor(float("nan"))):
        with pytest.raises(CinemoError):
            load_checkpoint(write(of(whole, "network") | {"scale_arr": scales}), "fp16")
