"""LoRA files through the stock loaders and hooks: each changes the clip as its deltas, merged into the weights, do."""

import logging

import comfy.lora
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.clip import load_clip
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.tests.comfy.toolbox.files import LAYERS, diffusers, draw_lora, kohya, kohya_text, own
from safetensors.torch import save_file

from .conftest import evaluate, node, relative, sample, with_hooks
from .kits import every_family

TEMPORAL = "input_blocks.1.1.transformer_blocks.0.attn_temp.to_q"


def loaded_from(weights: dict, place):
    save_file(weights, place / "merged.safetensors")
    return load_unet(str(place / "merged.safetensors"), "fp32")


@every_family
@pytest.mark.parametrize("naming", [kohya, diffusers])
def test_sd15_names(model, clip, kit, small_weights, folder, tmp_path, naming):
    file, merged = draw_lora(small_weights, LAYERS, naming)
    save_file(file, folder / "style.safetensors")
    changed = node("LoraLoaderModelOnly", model=model, lora_name="style.safetensors", strength_model=1.0)
    base, found, expected = (sample(m, clip) for m in (model, changed, loaded_from(merged, tmp_path)))
    assert relative(found, expected) <= kit.rounding
    assert relative(base, expected) > 0.1


@every_family
@pytest.mark.parametrize("strength", [0.5, -1.0])
def test_strength(model, clip, kit, small_weights, folder, tmp_path, strength):
    file, merged = draw_lora(small_weights, LAYERS, kohya)
    save_file(file, folder / "style.safetensors")
    scaled = {name: weight + (merged[name] - weight) * strength for name, weight in small_weights.items()}
    changed = node("LoraLoaderModelOnly", model=model, lora_name="style.safetensors", strength_model=strength)
    assert relative(sample(changed, clip), sample(loaded_from(scaled, tmp_path), clip)) <= kit.rounding
    without = node("LoraLoaderModelOnly", model=model, lora_name="style.safetensors", strength_model=0.0)
    assert torch.equal(sample(without, clip), sample(model, clip))


@every_family
def test_two_loras_add_up(model, clip, kit, small_weights, folder, tmp_path):
    first, merged = draw_lora(small_weights, dict(list(LAYERS.items())[:5]), kohya)
    second, merged = draw_lora(merged, dict(list(LAYERS.items())[3:]), diffusers)
    for name, file in (("first", first), ("second", second)):
        save_file(file, folder / f"{name}.safetensors")
        model = node("LoraLoaderModelOnly", model=model, lora_name=f"{name}.safetensors", strength_model=1.0)
    assert relative(sample(model, clip), sample(loaded_from(merged, tmp_path), clip)) <= kit.rounding


def test_text_encoder(model, clip, drawn, small_weights, folder):
    """LoraLoader on MODEL and CLIP: the prompt's tokens change as its merged text encoder makes them."""
    text_encoder = load_clip(drawn / "text_encoder")
    name = "text_model.encoder.layers.1.mlp.fc1"
    weights = text_encoder.cond_stage_model.clip_l.transformer.state_dict()
    file, merged = draw_lora(weights, {name: name}, kohya_text)
    save_file(file | draw_lora(small_weights, LAYERS, kohya)[0], folder / "style.safetensors")

    changed, changed_encoder = node(
        "LoraLoader", model=model, clip=text_encoder, lora_name="style.safetensors", strength_model=1.0, strength_clip=1.0
    )
    base, found = (node("CLIPTextEncode", clip=c, text="a wave")[0][0] for c in (text_encoder, changed_encoder))
    merged_encoder = load_clip(drawn / "text_encoder")
    merged_encoder.cond_stage_model.clip_l.transformer.load_state_dict(merged)
    expected = node("CLIPTextEncode", clip=merged_encoder, text="a wave")[0][0]
    assert relative(found, expected) <= 1e-5 and relative(base, expected) > 0.01

    positive = [[found, clip.positive[0][1]]]
    assert relative(sample(changed, clip.with_positive(positive)), sample(changed, clip)) > 0.01


@every_family
@pytest.mark.parametrize("naming", [own, kohya])
def test_temporal_layers_by_our_names(model, clip, kit, small_weights, folder, tmp_path, naming):
    file, merged = draw_lora(small_weights, dict(zip(kit.own_layers, kit.own_layers, strict=True)), naming)
    save_file(file, folder / "motion.safetensors")
    changed = node("LoraLoaderModelOnly", model=model, lora_name="motion.safetensors", strength_model=1.0)
    base, found, expected = (sample(m, clip) for m in (model, changed, loaded_from(merged, tmp_path)))
    assert relative(found, expected) <= kit.rounding
    assert relative(base, expected) > 0.01


@pytest.mark.parametrize("naming", [kohya, diffusers])
def test_temporal_layers_by_diffusers_names_are_left_out_with_a_warning(model, clip, small_weights, folder, caplog, naming):
    """ComfyUI's table of diffusers names ends with SD1.x's layers; nothing of the file is applied in their place."""
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn_temp.to_q"
    save_file(draw_lora(small_weights, {name: TEMPORAL}, naming)[0], folder / "motion.safetensors")
    with caplog.at_level(logging.WARNING):
        changed = node("LoraLoaderModelOnly", model=model, lora_name="motion.safetensors", strength_model=1.0)
    assert all(f"lora key not loaded: {key}" in caplog.text for key in naming(name))
    assert torch.equal(sample(changed, clip), sample(model, clip))


@every_family
def test_hook_on_one_conditioning(model, clip, small_weights, folder, tmp_path):
    """A LoRA hooked to the positive prompt changes its answer and not the negative's."""
    file, merged = draw_lora(small_weights, LAYERS, kohya)
    save_file(file, folder / "style.safetensors")
    hooks = node("CreateHookLoraModelOnly", lora_name="style.safetensors", strength_model=1.0)
    hooked = with_hooks(clip, hooks)
    negative = evaluate(model, clip, cfg=0.0)
    expected = negative + 4.0 * (evaluate(loaded_from(merged, tmp_path), clip) - negative)
    assert relative(evaluate(model, hooked, cfg=4.0), expected) <= 1e-5
    assert relative(evaluate(model, clip, cfg=4.0), expected) > 0.1


@every_family
def test_hook_with_keyframes(model, clip, small_weights, folder, tmp_path):
    """Strength 0 in the first half of the schedule, 1 in the second."""
    file, merged = draw_lora(small_weights, LAYERS, kohya)
    save_file(file, folder / "style.safetensors")
    hooks = node("CreateHookLoraModelOnly", lora_name="style.safetensors", strength_model=1.0)
    keyframes = node("CreateHookKeyframe", strength_mult=0.0, start_percent=0.0)
    keyframes = node("CreateHookKeyframe", strength_mult=1.0, start_percent=0.5, prev_hook_kf=keyframes)
    hooks = node("SetHookKeyframes", hooks=hooks, hook_kf=keyframes)
    hooked = with_hooks(clip, hooks)
    sampling = model.get_model_object("model_sampling")
    early, late = sampling.percent_to_sigma(0.25), sampling.percent_to_sigma(0.75)
    assert torch.equal(evaluate(model, hooked, early), evaluate(model, clip, early))
    merged_model = loaded_from(merged, tmp_path)
    assert relative(evaluate(model, hooked, late), evaluate(merged_model, clip, late)) <= 1e-5


def test_hook_through_the_text_encoder(model, clip, drawn, small_weights, folder, tmp_path):
    """SetClipHooks: the LoRA of text encoder and UNet for the prompts of this CLIP only."""
    text_encoder = load_clip(drawn / "text_encoder")
    weights = text_encoder.cond_stage_model.clip_l.transformer.state_dict()
    name = "text_model.encoder.layers.1.mlp.fc1"
    file, _ = draw_lora(weights, {name: name}, kohya_text)
    unet_file, merged = draw_lora(small_weights, LAYERS, kohya)
    save_file(file | unet_file, folder / "style.safetensors")
    _, changed_encoder = node(
        "LoraLoader", model=model, clip=text_encoder, lora_name="style.safetensors", strength_model=1.0, strength_clip=1.0
    )
    hooks = node("CreateHookLora", lora_name="style.safetensors", strength_model=1.0, strength_clip=1.0)
    hooked_encoder = node("SetClipHooks", clip=text_encoder, apply_to_conds=True, schedule_clip=False, hooks=hooks)
    found, expected = (
        clip.with_positive([[text, options | clip.positive[0][1]]])
        for text, options in (node("CLIPTextEncode", clip=c, text="a wave")[0] for c in (hooked_encoder, changed_encoder))
    )
    assert relative(evaluate(model, found), evaluate(loaded_from(merged, tmp_path), expected)) <= 1e-5
    assert relative(evaluate(model, expected), evaluate(model, found)) > 0.1


@every_family
def test_every_name_of_sd15_finds_the_same_layer(model, stock_sd):
    """Whatever name ComfyUI reads for a layer of ComfyUI's UNet of this size, it reads for that layer here."""
    names = comfy.lora.model_lora_keys_unet(stock_sd.model, {})
    ours = comfy.lora.model_lora_keys_unet(model.model, {})
    assert len(names) > 700
    assert {name: ours.get(name) for name in names} == names


def test_names_that_comfyui_does_not_read_for_sd15_either(model, stock_sd):
    """peft's plain names of attention layers: without `processor` ComfyUI knows them for no SD1.x UNet."""
    plain = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    for patcher in (model, stock_sd):
        names = comfy.lora.model_lora_keys_unet(patcher.model, {})
        assert plain not in names and plain.replace(".to_q", ".processor.to_q") in names
