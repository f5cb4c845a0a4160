"""ToonCrafter's VAE: ComfyUI's temporal decoder with the details of two pictures, and decoding a clip with it."""

import logging
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.ops
import comfy.sd
import torch
from comfy.ldm.modules.diffusionmodules.model import Decoder, ResnetBlock

from ...errors import InputError
from ...files.checkpoint import compare, shapes_of
from ...models.dynamicrafter.toon import expected_shapes, refinements
from ...models.dynamicrafter.variants import TOON
from ...models.temporal_vae import keys
from ...resize import resize_image
from ...shapes import PIXELS_PER_LATENT, check_finite, check_latent
from .. import temporal_decoder
from ..decode import SHARE, memory_of
from ..narrow import plan_narrowing
from ..progress import FrameProgress
from ..vae import check_numbers

MIX = ".mix_factor"
MAPS = 10  # of the narrowest width at full size: what ComfyUI's blocks took; with less at once and the pictures' details, not measured
LEAST_FOR_SECOND_PASS = 6  # frames; in a shorter clip the pass would lack a frame that it is for


class ToonDecoder(Decoder):
    """Decodes the frames of one clip together; with the encoder's stages at its two pictures, their details join where sizes are equal."""

    def __init__(self, config: keys.VAEConfig) -> None:
        super().__init__(**config.ddconfig, **temporal_decoder.blocks())
        temporal_decoder.upsample_by_frame(self)
        attention = comfy.ldm.modules.attention.optimized_attention
        self.attn_refinement = refinements(config, attention=attention, operations=comfy.ops.disable_weight_init)

    def forward(self, z: torch.Tensor, stages: list[torch.Tensor] | None = None, **kwargs) -> torch.Tensor:
        """z: [f, 4, h, w]; stages: [2, c, ...] of each level, the outermost first, and of the encoder's first convolution."""
        if stages is None:
            logging.warning("ToonCrafter's VAE decodes without its two pictures; use Cinemo ToonCrafter Decode to give them.")
            return super().forward(z, **kwargs)
        h = self.conv_in(z)
        h = self.mid.block_1(h, None)
        h = self.mid.attn_1(h)
        h = self.mid.block_2(h, None)
        for level in reversed(range(self.num_resolutions)):
            for block in self.up[level].block:
                h = block(h, None)
            h = self.attn_refinement[level](h, stages[level])
            if level:
                h = self.up[level].upsample(h)
        h = torch.nn.functional.silu(self.norm_out(h))
        return self.conv_out(self.attn_refinement[-1](h, stages[-1]))


class Unused(comfy.ops.disable_weight_init.Conv2d):
    """The convolution in front of Stable Diffusion's decoder. ToonCrafter's was trained without; its weights are kept for saving."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def encode_stages(encoder: Any, pictures: torch.Tensor) -> list[torch.Tensor]:
    """What ComfyUI's encoder makes of pictures [2, 3, h, w] on each level, before the next one halves them; last, what its first
    convolution makes of them.
    """
    first = h = encoder.conv_in(pictures)
    stages = []
    for level in encoder.down:
        for block in level.block:
            h = block(h, None)
        stages.append(h)
        if hasattr(level, "downsample"):
            h = level.downsample(h)
    return [*stages, first]


def make_toon_vae(state_dict: dict[str, torch.Tensor], what: str) -> comfy.sd.VAE:
    """ToonCrafter's VAE from its tensors. Raises CheckpointError, beginning with `what`, for one that is incomplete or of other sizes."""
    shapes = shapes_of(state_dict)
    config = keys.read_config({name: shape for name, shape in shapes.items() if not name.endswith(MIX)})
    compare(shapes, expected_shapes(config), what)
    plain = {name: tensor for name, tensor in state_dict.items() if not name.startswith(TOON)}
    vae = comfy.sd.VAE(sd=plain, config={"params": {"ddconfig": config.ddconfig, "embed_dim": config.latent_channels}})
    plan_narrowing(state_dict, vae.vae_dtype, (), what, scalable=False)

    replaced: dict[str, torch.nn.Module] = {
        "decoder.": ToonDecoder(config),
        "post_quant_conv.": Unused(config.latent_channels, config.latent_channels, 1),
    }
    for prefix, module in replaced.items():
        module.eval().to(vae.vae_dtype)
        comfy.model_management.archive_model_dtypes(module)
        own = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}
        module.load_state_dict(own, assign=vae.patcher.is_dynamic())
        setattr(vae.first_stage_model, prefix.rstrip("."), module)
    vae.size, vae.patcher.size = None, 0  # which ComfyUI has measured before
    return vae


@dataclass(frozen=True)
class Pictures:
    """The first and the last picture, [1, h, w, 3] in 0..1 of any size, and how they meet the clip's (a mode of `resize_image`)."""

    first: torch.Tensor
    last: torch.Tensor
    resize: str = "cover"


def decode_with_pictures(vae: Any, samples: torch.Tensor, pictures: Pictures) -> torch.Tensor:
    """Frame latents [f, 4, h, w] to an IMAGE [f, h * 8, w * 8, 3] in 0..1, as the authors decode: twice, the second time without the
    frames next to the first and the last one, for the two frames in the middle.

    Raises InputError, before it begins, for another VAE, a single frame, or where a CPU has not the memory for it.
    """
    check_latent(samples)
    check_finite(samples)
    decoder = getattr(getattr(vae, "first_stage_model", None), "decoder", None)
    if not isinstance(decoder, ToonDecoder):
        raise InputError(
            "The VAE is not ToonCrafter's, whose decoder reads two pictures; connect that of a ToonCrafter checkpoint from Cinemo "
            "DynamiCrafter Loader, or decode with Cinemo Video Decode."
        )
    frames, _, height, width = samples.shape
    if frames < 2:
        raise InputError("The clip has one frame, expected at least 2: ToonCrafter decodes from a first to a last frame.")
    _check_memory(vae, samples)
    size = (width * PIXELS_PER_LATENT, height * PIXELS_PER_LATENT)
    ends = torch.cat([resize_image(picture[:1], *size, pictures.resize) for picture in (pictures.first, pictures.last)])

    second = [frame for frame in range(frames) if frame not in (1, frames - 2)] if frames >= LEAST_FOR_SECOND_PASS else []
    blocks = [module for module in decoder.modules() if isinstance(module, ResnetBlock)]
    progress = FrameProgress(blocks, frames + len(second))
    memory = vae.memory_used_decode(samples.shape, vae.vae_dtype) * frames
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)

    def decode(z: torch.Tensor) -> torch.Tensor:
        with progress.watch(len(z)):
            pixels = decoder(z.to(device=vae.device, dtype=vae.vae_dtype), stages).to(vae.output_device, vae.vae_output_dtype())
        progress.finish(len(z))
        return vae.process_output(pixels).movedim(1, -1)

    with comfy.model_management.cuda_device_context(vae.device):
        ends = vae.process_input(ends.movedim(-1, 1)).to(device=vae.device, dtype=vae.vae_dtype)
        stages = encode_stages(vae.first_stage_model.encoder, ends)
        images = decode(samples)
        if second:
            middle = frames // 2
            images[middle - 1 : middle + 1] = decode(samples[second])[middle - 2 : middle]
    check_numbers(images, vae, "the frames")
    return images


def _check_memory(vae: Any, samples: torch.Tensor) -> None:
    if not comfy.model_management.is_device_cpu(vae.device):
        return
    frames, _, height, width = samples.shape
    needed, free = memory_of(vae, frames, height, width, MAPS), comfy.model_management.get_free_memory(vae.device)
    if needed > SHARE * free:
        raise InputError(
            f"Decoding {frames} frames of {width * PIXELS_PER_LATENT}x{height * PIXELS_PER_LATENT} together takes {needed / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free; close other programs, or make the clip smaller."
        )
