"""The files that Animate Anyone's workflows name: its set of small width, an image encoder and a VAE.

ComfyUI's own loaders know encoder and VAE at their real sizes only. A matrix of the encoder has one number on each of its
anti-diagonals, so the file holds little more than a row and a column of it.
"""

import math
from pathlib import Path

import torch
from cinemo_pack.tests import drawn
from cinemo_pack.tests.comfy.toolbox.files import draw_lora, kohya
from cinemo_pack.tests.drawn_animate_anyone import WIDE, published_set
from cinemo_pack.tests.workflows.stock_files import IMAGE_VAE
from safetensors.torch import save_file

SET = "animate_anyone/AnimateAnyone"
ENCODER = "clip_vision/sd-image-variations-encoder.bin"
REFERENCE_LORA = "for_reference_net.safetensors"
VAE = "vae/vae-ft-mse-840000-ema-pruned.safetensors"
WIDTH, HIDDEN, LAYERS, PROJECTED = 1024, 4096, 24, 768  # of CLIP ViT-L/14
PATCHES, PATCH = 256, 14


def write_animate_anyone_files(models: Path) -> None:
    """Write the set as a folder, its files once more one by one, the encoder and the VAE into the folders of `models`."""
    for name, tensors in published_set(WIDE).items():
        single = f"{'controlnet' if name == 'pose_guider' else 'diffusion_models'}/{name}.pth"
        for place in (f"{SET}/{name}.pth", single):
            torch.save(tensors, made(models / place))
    unet = published_set(WIDE)["reference_unet"]
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    file, _ = draw_lora({f"{layer}.weight": unet[f"{layer}.weight"]}, {layer: layer}, kohya)
    save_file(file, made(models / "loras" / REFERENCE_LORA))
    torch.save({name: encoder_tensor(name, shape) for name, shape in encoder_shapes().items()}, made(models / ENCODER))
    save_file({name: tensor.contiguous() for name, tensor in drawn.vae_weights(IMAGE_VAE).items()}, made(models / VAE))


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def encoder_shapes() -> dict[str, tuple[int, ...]]:
    """CLIPVisionModelWithProjection's, as transformers names them."""
    linear = {f"self_attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (HIDDEN, WIDTH), "mlp.fc2": (WIDTH, HIDDEN), "layer_norm1": (WIDTH,), "layer_norm2": (WIDTH,)}
    modules = {f"encoder.layers.{i}.{name}": shape for i in range(LAYERS) for name, shape in linear.items()}
    modules |= {"pre_layrnorm": (WIDTH,), "post_layernorm": (WIDTH,)}
    tensors = {
        f"{module}.{part}": shape if part == "weight" else shape[:1] for module, shape in modules.items() for part in ("weight", "bias")
    }
    tensors |= {"embeddings.class_embedding": (WIDTH,), "embeddings.position_embedding.weight": (PATCHES + 1, WIDTH)}
    tensors["embeddings.patch_embedding.weight"] = (WIDTH, 3, PATCH, PATCH)
    return {f"vision_model.{name}": shape for name, shape in tensors.items()} | {"visual_projection.weight": (PROJECTED, WIDTH)}


def encoder_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if len(shape) == 1:
        return drawn.draw(name, shape)
    rows, columns = shape[0], math.prod(shape[1:])
    numbers = drawn.draw(name, (1, rows + columns - 1))[0].float() * math.sqrt((rows + columns - 1) / columns)
    return numbers.half().as_strided((rows, columns), (1, 1)).unflatten(1, shape[1:])
