"""Files of the Stable Diffusion toolbox, their weights drawn by the rule of drawn.py: UNets, ControlNets and LoRAs. Needs no ComfyUI."""

from dataclasses import replace

import torch
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.resampler import ResamplerConfig
from cinemo_pack.cinemo_core.models.families import FAMILIES
from cinemo_pack.cinemo_core.models.sd_unet.config import UNetConfig
from cinemo_pack.tests.drawn import TEXT_WIDTH, draw

# SD's widths are 1, 2 and 4 times the first one, which ControlNets and FreeU go by; those of the drawn checkpoint are not.
SMALL = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 2, 4),
    num_res_blocks=(1, 1, 1),
    transformer_depth=(1, 1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 0, 0),
    context_dim=TEXT_WIDTH,
    num_heads=2,
    motion_dim=32,
)
# The first level of SD1.x at its real widths, by which ComfyUI recognises a file.
REAL_WIDTH = replace(
    SMALL,
    model_channels=320,
    channel_mult=(1,),
    num_res_blocks=(1,),
    transformer_depth=(1,),
    transformer_depth_output=(1, 1),
    context_dim=768,
    num_heads=8,
)
SMALL_DYNAMICRAFTER = DynamiCrafterConfig(
    in_channels=8,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 2, 4),
    num_res_blocks=(1, 1, 1),
    transformer_depth=(1, 1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 0, 0),
    context_dim=TEXT_WIDTH,
    num_head_channels=32,
    gated=False,
    projector=ResamplerConfig(image_dim=20, dim=32, inner=64, hidden=48, output_dim=TEXT_WIDTH, queries=32, depth=1),
)
REAL_WIDTH_DYNAMICRAFTER = replace(
    SMALL_DYNAMICRAFTER,
    model_channels=320,
    channel_mult=(1,),
    num_res_blocks=(1,),
    transformer_depth=(1,),
    transformer_depth_output=(1, 1),
    context_dim=1024,
    num_head_channels=64,
    projector=replace(SMALL_DYNAMICRAFTER.projector, output_dim=1024),
)
SMALL_ANIMATE_ANYONE = AnimateAnyoneConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 2, 4),
    num_res_blocks=(1, 1, 1),
    transformer_depth=(1, 1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 0, 0),
    context_dim=TEXT_WIDTH,
    pose_channels=(4, 8, 12, 16),
    positions=32,
)
REAL_WIDTH_ANIMATE_ANYONE = replace(
    SMALL_ANIMATE_ANYONE,
    model_channels=320,
    channel_mult=(1,),
    num_res_blocks=(1,),
    transformer_depth=(1,),
    transformer_depth_output=(1, 1),
    context_dim=768,
)
# What Stable Diffusion does not have, by parts of names: of Cinemo, of DynamiCrafter, of Animate Anyone.
FAMILIES_OWN = (
    *("attn_temp", "norm_temp", "motion_embed"),
    *(".temporal.", "temopral_conv.", "init_attn.", "fps_embedding.", "to_k_ip.", "to_v_ip.", "image_proj_model."),
    *(".motion.", "pose_guiders.", "reference_net."),
)
HINT_CHANNELS = (3, 16, 16, 32, 32, 96, 96, 256)  # of a ControlNet's 3x3 convolutions on the hint; the last one gives the UNet's width
RANK, ALPHA = 4, 2.0
# The same layers as kohya and diffusers call them, and their LDM names: linear, 1x1 and 3x3 layers, in every part of the UNet.
LAYERS = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": "input_blocks.3.1.transformer_blocks.0.attn2.to_k",
    "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj": "input_blocks.3.1.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.attentions.0.proj_in": "input_blocks.1.1.proj_in",
    "down_blocks.1.downsamplers.0.conv": "input_blocks.4.0.op",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0": "middle_block.1.transformer_blocks.0.attn1.to_out.0",
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "up_blocks.1.resnets.0.time_emb_proj": "output_blocks.2.0.emb_layers.1",
    "up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_v": "output_blocks.5.1.transformer_blocks.0.attn2.to_v",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
}


def weights_of(config: UNetConfig, salt: str = "") -> dict[str, torch.Tensor]:
    """LDM-named weights of a family's network of these sizes; another salt draws others."""
    family = next(family for family in FAMILIES if family.name == config.family)
    return {name: draw(salt + name, shape).float() for name, shape in family.shapes(config).items()}


def sd_weights(config: UNetConfig) -> dict[str, torch.Tensor]:
    """LDM-named weights of a Stable Diffusion UNet of these sizes, which reads noisy latents alone."""
    weights = {name: w for name, w in weights_of(config, "sd15.").items() if not any(part in name for part in FAMILIES_OWN)}
    first = "input_blocks.0.0.weight"
    return weights | {first: weights[first][:, : config.out_channels].contiguous()}


def controlnet_weights(config: UNetConfig) -> dict[str, torch.Tensor]:
    """A ControlNet for a UNet of these sizes, its zero convolutions as if trained a little."""
    shapes = {name: tuple(w.shape) for name, w in sd_weights(config).items() if not name.startswith(("output_blocks.", "out."))}
    for index, (inner, outer) in enumerate(zip(HINT_CHANNELS, (*HINT_CHANNELS[1:], config.model_channels), strict=True)):
        shapes |= {f"input_hint_block.{2 * index}.weight": (outer, inner, 3, 3), f"input_hint_block.{2 * index}.bias": (outer,)}
    weights = {name: draw("control." + name, shape).float() for name, shape in shapes.items()}
    blocks = {name.split(".")[1]: w.shape[0] for name, w in weights.items() if name.startswith("input_blocks.") and w.dim() == 4}
    zero_convolutions = {f"zero_convs.{block}.0": width for block, width in blocks.items()}
    zero_convolutions["middle_block_out.0"] = list(blocks.values())[-1]
    for name, width in zero_convolutions.items():
        for part, shape in (("weight", (width, width, 1, 1)), ("bias", (width,))):
            weights[f"{name}.{part}"] = draw(f"control.{name}.{part}", shape).float() * 0.3
    return weights


def kohya(name: str) -> tuple[str, str, str]:
    key = "lora_unet_" + name.replace(".", "_")
    return f"{key}.lora_down.weight", f"{key}.lora_up.weight", f"{key}.alpha"


def kohya_text(name: str) -> tuple[str, ...]:
    return tuple(key.replace("lora_unet_", "lora_te_") for key in kohya(name))


def diffusers(name: str) -> tuple[str, str, str]:
    """As diffusers writes it, and as ComfyUI reads attention layers of it: as processors of the attention."""
    if ".to_" not in name:
        return f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight", f"unet.{name}.alpha"
    name = f"unet.{name.replace('.to_', '.processor.to_').removesuffix('.0')}_lora"
    return f"{name}.down.weight", f"{name}.up.weight", f"{name.removesuffix('_lora')}.alpha"


def own(name: str) -> tuple[str, str, str]:
    key = f"diffusion_model.{name}"
    return f"{key}.lora_A.weight", f"{key}.lora_B.weight", f"{key}.alpha"


def draw_lora(weights: dict, layers: dict[str, str], naming) -> tuple[dict, dict]:
    """A LoRA file for these layers (name in the file -> LDM name), and the weights with its deltas merged in."""
    generator = torch.Generator().manual_seed(5)
    file, merged = {}, dict(weights)
    for name, ldm in layers.items():
        down_key, up_key, alpha_key = naming(name)
        weight = weights[f"{ldm}.weight"]
        out, inner, *kernel = weight.shape
        down = torch.randn(RANK, inner, *kernel, generator=generator) / weight[0].numel() ** 0.5
        up = torch.randn(out, RANK, *[1] * len(kernel), generator=generator)
        file |= {down_key: down, up_key: up, alpha_key: torch.tensor(ALPHA)}
        delta = up.flatten(1).double() @ down.flatten(1).double() * (ALPHA / RANK)
        merged[f"{ldm}.weight"] = (weight.double() + delta.reshape(weight.shape)).float()
    return file, merged


def control_lora(unet: dict[str, torch.Tensor], config: UNetConfig) -> tuple[dict, dict]:
    """A Control-LoRA file, and the ControlNet that it describes: the UNet's own weights with its deltas, and its other layers."""
    generator = torch.Generator().manual_seed(6)
    whole = controlnet_weights(config)
    file = {"lora_controlnet": torch.tensor([])}
    for name, weight in whole.items():
        if name not in unet:
            file[name] = weight
            continue
        whole[name] = unet[name]
        if weight.dim() > 1:
            down = torch.randn(RANK, *weight.shape[1:], generator=generator) / weight[0].numel() ** 0.5
            up = torch.randn(weight.shape[0], RANK, *[1] * (weight.dim() - 2), generator=generator) * 0.5
            layer = name.removesuffix(".weight")
            file |= {f"{layer}.up": up, f"{layer}.down": down}
            whole[name] = unet[name] + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return file, whole
