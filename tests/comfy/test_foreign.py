"""Files that are not a Cinemo UNet: each is named in words, or its damage is, and nothing is loaded."""

import os
import re

import diffusers
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.loading import load_checkpoint
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.cinemo_core.models.cinemo.family import CINEMO
from cinemo_pack.tests import drawn_dynamicrafter
from cinemo_pack.tests.comfy.families import animate_anyone
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from safetensors.torch import load_file, save_file

SMALL = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


def sd1_diffusers() -> dict:
    return diffusers.UNet2DConditionModel(**SMALL, cross_attention_dim=768).state_dict()


def sd2_diffusers() -> dict:
    return diffusers.UNet2DConditionModel(**SMALL, cross_attention_dim=1024, use_linear_projection=True).state_dict()


def sdxl_diffusers() -> dict:
    return diffusers.UNet2DConditionModel(
        **SMALL,
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=1472,
    ).state_dict()


def ldm_unet(context_dim: int, **options) -> dict:
    """An image UNet in the layout of the original Stable Diffusion code."""
    unet = UNetModel(
        image_size=32,
        in_channels=4,
        model_channels=32,
        out_channels=4,
        num_res_blocks=[1, 1],
        channel_mult=(1, 2),
        num_heads=2,
        use_spatial_transformer=True,
        transformer_depth=[1, 0],
        transformer_depth_middle=1,
        transformer_depth_output=[1, 1, 0, 0],
        context_dim=context_dim,
        **options,
    )
    return {f"model.diffusion_model.{k}": torch.zeros(v.shape) for k, v in unet.state_dict().items()}


def sd1_checkpoint() -> dict:
    parts = {
        "first_stage_model.encoder.conv_in.weight": torch.zeros(32, 3, 3, 3),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.zeros(8, 768),
    }
    return ldm_unet(768) | parts


def sd2_checkpoint() -> dict:
    parts = {
        "first_stage_model.encoder.conv_in.weight": torch.zeros(32, 3, 3, 3),
        "cond_stage_model.model.token_embedding.weight": torch.zeros(8, 1024),
    }
    return ldm_unet(1024, use_linear_in_transformer=True) | parts


def svd_checkpoint() -> dict:
    name = "model.diffusion_model.input_blocks.1.1.time_stack.0.attn1.to_q.weight"
    return ldm_unet(1024, use_linear_in_transformer=True) | {name: torch.zeros(32, 32), "first_stage_model.x": torch.zeros(1)}


def sdxl_checkpoint() -> dict:
    parts = {"conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": torch.zeros(8, 768)}
    return ldm_unet(2048, use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=2816) | parts


def svd() -> dict:
    return diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        num_attention_heads=(2, 2),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    ).state_dict()


def animatediff() -> dict:
    return diffusers.MotionAdapter(block_out_channels=(32, 64), motion_layers_per_block=1, motion_num_attention_heads=2).state_dict()


def animatediff_original() -> dict:
    name = "module.down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"
    return {f"{name}.to_q.weight": torch.zeros(320, 320), f"{name}.pos_encoder.pe": torch.zeros(1, 24, 320)}


def lora_kohya() -> dict:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    return {
        f"{name}.lora_down.weight": torch.zeros(4, 320),
        f"{name}.lora_up.weight": torch.zeros(320, 4),
        f"{name}.alpha": torch.tensor(4.0),
    }


def lora_peft() -> dict:
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn_temp.to_q"
    return {f"{name}.lora_A.weight": torch.zeros(4, 320), f"{name}.lora_B.weight": torch.zeros(320, 4)}


def lora_of_every_layer() -> dict:
    """A LoRA may bring the words of a Cinemo UNet without being one."""
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn_temp.time_rel_pos_bias.relative_attention_bias"
    return {f"{name}.lora_A.weight": torch.zeros(4, 320), "add_embedding.linear_1.lora_A.weight": torch.zeros(4, 256)}


def controlnet() -> dict:
    return diffusers.ControlNetModel(
        block_out_channels=(32, 64), layers_per_block=1, down_block_types=SMALL["down_block_types"], cross_attention_dim=768
    ).state_dict()


def vae() -> dict:
    return diffusers.AutoencoderKL(block_out_channels=(32,)).state_dict()


def text_encoder() -> dict:
    return {"text_model.embeddings.token_embedding.weight": torch.zeros(49408, 4)}


def something_else() -> dict:
    return {"double_blocks.0.img_attn.qkv.weight": torch.zeros(9, 3)}


FOREIGN = {
    sd1_diffusers: "an SD1.x UNet",
    sd2_diffusers: "an SD2.x UNet",
    sdxl_diffusers: "an SDXL UNet",
    sd1_checkpoint: "an SD1.x checkpoint",
    sd2_checkpoint: "an SD2.x checkpoint",
    svd_checkpoint: "a Stable Video Diffusion checkpoint",
    sdxl_checkpoint: "an SDXL checkpoint",
    svd: "a Stable Video Diffusion UNet",
    animatediff: "an AnimateDiff motion module",
    animatediff_original: "an AnimateDiff motion module",
    lora_kohya: "a LoRA",
    lora_peft: "a LoRA",
    lora_of_every_layer: "a LoRA",
    controlnet: "a ControlNet",
    vae: "a VAE",
    text_encoder: "a CLIP text encoder",
    something_else: "an unknown model",
}


@pytest.mark.parametrize(("make", "words"), FOREIGN.items(), ids=[make.__name__ for make in FOREIGN])
def test_other_models_are_named(tmp_path, make, words):
    path = tmp_path / "cinemo.safetensors"  # the name says nothing
    save_file({k: v.contiguous() for k, v in make().items()}, path)
    with pytest.raises(CheckpointError, match=f"is not a Cinemo UNet or a DynamiCrafter UNet or an Animate Anyone UNet; it is {words}"):
        load_unet(str(path))


@pytest.mark.parametrize(("make", "words"), FOREIGN.items(), ids=[make.__name__ for make in FOREIGN])
def test_the_loader_of_one_family_names_other_models_and_says_what_it_takes(tmp_path, make, words):
    path = tmp_path / "dynamicrafter.ckpt"
    torch.save({"state_dict": make()}, path)
    message = f"is not a DynamiCrafter UNet; it is {words}: choose a DynamiCrafter checkpoint"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(path))


def test_a_cinemo_checkpoint_is_named_by_the_loader_of_dynamicrafter(drawn):
    with pytest.raises(CheckpointError, match="is not a DynamiCrafter UNet; it is a Cinemo UNet: choose a DynamiCrafter checkpoint"):
        load_checkpoint(str(drawn / "unet" / "diffusion_pytorch_model.bin"))


def test_an_animate_anyone_file_is_named_by_the_loader_of_dynamicrafter(tmp_path):
    save_file(animate_anyone.weights(), tmp_path / "model.safetensors")
    with pytest.raises(
        CheckpointError, match="is not a DynamiCrafter UNet; it is an Animate Anyone UNet: choose a DynamiCrafter checkpoint"
    ):
        load_checkpoint(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("family", [CINEMO, ANIMATE_ANYONE], ids=lambda family: family.name)
@pytest.mark.parametrize("toon", [False, True], ids=["dynamicrafter", "tooncrafter"])
def test_a_dynamicrafter_file_is_named_by_the_loaders_of_the_others(tmp_path, family, toon):
    vae = {f"first_stage_model.{name}": tensor for name, tensor in drawn_dynamicrafter.toon_vae().items()} if toon else {}
    save_file(drawn_dynamicrafter.checkpoint(("network",)) | vae, tmp_path / "model.safetensors")
    message = rf"model.safetensors is not {family.words}; it is a DynamiCrafter UNet: {re.escape(family.where)}\.$"
    with pytest.raises(CheckpointError, match=message):
        load_unet(str(tmp_path / "model.safetensors"), "default", family)


@pytest.fixture
def weights(drawn) -> dict:
    return torch.load(drawn / "unet" / "diffusion_pytorch_model.bin", weights_only=True)


class Command:
    """What a malicious pickle runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    torch.save(weights | {"extra": Command()}, "cinemo.pt")
    with pytest.raises(CheckpointError, match=r"holds Python code or objects .* never runs"):
        load_unet("cinemo.pt")
    assert not os.path.exists("ran")


@pytest.mark.parametrize("kept", [0, 100, 10_000, -1])
def test_truncated_safetensors(tmp_path, weights, kept):
    path = tmp_path / "cinemo.safetensors"
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="download"):
        load_unet(str(path))


def test_incomplete_unet(tmp_path, weights):
    del weights["mid_block.resnets.0.conv1.weight"]
    torch.save(weights, tmp_path / "cinemo.pt")
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors \(middle_block"):
        load_unet(str(tmp_path / "cinemo.pt"))


def test_unet_of_another_architecture(tmp_path, weights):
    weights = {k: v[:, :, 0, 0] if k.endswith(("proj_in.weight", "proj_out.weight")) else v for k, v in weights.items()}
    torch.save(weights, tmp_path / "cinemo.pt")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_unet(str(tmp_path / "cinemo.pt"))


@pytest.mark.parametrize("nest", ["ema", "model", "state_dict"])
def test_nested_weights_load(tmp_path, weights, nest):
    torch.save({nest: weights, "epoch": 3}, tmp_path / "cinemo.pt")
    model = load_unet(str(tmp_path / "cinemo.pt"))
    found = model.model.diffusion_model.state_dict()["out.2.bias"]
    assert torch.equal(found.float(), weights["conv_out.bias"].float())


def test_averaged_weights_are_preferred(tmp_path, weights):
    average = {k: v + 1 if v.is_floating_point() and "rotary" not in k else v for k, v in weights.items()}
    torch.save({"model": weights, "ema": average, "opt": {}}, tmp_path / "cinemo.pt")
    model = load_unet(str(tmp_path / "cinemo.pt"))
    found = model.model.diffusion_model.state_dict()["out.2.bias"]
    assert torch.equal(found.float(), average["conv_out.bias"].float())


def test_every_layout_gives_the_same_model(tmp_path, drawn):
    from cinemo_pack.cinemo_core.convert import main

    ldm = tmp_path / "ldm.safetensors"
    assert main([str(drawn), str(ldm), "--dtype", "keep"]) == 0
    prefixed = tmp_path / "prefixed.safetensors"
    save_file({f"model.diffusion_model.{k}": v for k, v in load_file(ldm).items()}, prefixed)
    files = [drawn / "unet" / "diffusion_pytorch_model.bin", ldm, prefixed]
    models = [load_unet(str(f)).model.diffusion_model.state_dict() for f in files]
    for other in models[1:]:
        assert other.keys() == models[0].keys()
        assert all(torch.equal(other[k], models[0][k]) for k in other)
