"""Decoding of a clip: an image VAE in ComfyUI's batches, a temporal one in the reference's chunks, in tiles where memory is short."""

import logging
import math
from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.model import ResnetBlock

from ..errors import InputError
from ..shapes import PIXELS_PER_LATENT, check_finite, check_latent
from .progress import FrameProgress
from .vae import check_numbers, is_temporal

CHUNK = 14  # frames that the temporal decoder sees at once, as in the reference
TILES = (96, 64, 48, 32)  # sides of a tile in latents; below, a tile shows too little of the picture
# Maps of the decoder's narrowest width at full size that it holds at once. Measured as the growth of a CPU process's peak, float32:
# 4.3 for 14 frames of 160x128 with the published 128 channels, 4.5 for 14 of 512x320 within a whole run.
MAPS = 5
SHARE = 0.9  # of the free memory that decoding may take


def decode_clip(vae, samples: torch.Tensor) -> torch.Tensor:
    """Frame latents [f, 4, h, w] to an IMAGE [f, h * 8, w * 8, 3] in 0..1, frame 0 the input image; a single latent, to a picture.

    A temporal decoder sees the frames in fixed chunks, because its result depends on which frames it sees together and
    ComfyUI would choose them by free memory. An image VAE decodes in ComfyUI's own batches. Raises InputError, before it
    begins, where a CPU has not the memory for it.
    """
    if vae is None:
        raise InputError("There is no VAE: the checkpoint held none; load one with VAELoader or Cinemo Bundle Loader.")
    check_latent(samples)
    check_finite(samples)
    if vae.latent_channels != samples.shape[1]:
        raise InputError(
            f"The VAE decodes latents of {vae.latent_channels} channels, the clip has {samples.shape[1]}: connect the "
            "VAE that encoded the image."
        )
    vae.throw_exception_if_invalid()
    temporal = is_temporal(vae)
    tile = tile_for_cpu(vae, samples) if temporal else None
    decoder = getattr(vae.first_stage_model, "decoder", vae.first_stage_model)
    progress = FrameProgress([module for module in decoder.modules() if isinstance(module, ResnetBlock)], samples.shape[0])
    frames = []
    for chunk in samples.split(CHUNK):
        comfy.model_management.throw_exception_if_processing_interrupted()
        if temporal:
            frames.append(decode_together(vae, chunk, progress, tile))
        else:
            with progress.watch(chunk.shape[0]):
                frames.append(vae.decode(chunk))
        progress.finish(chunk.shape[0])
    images = torch.cat(frames)
    check_numbers(images, vae, "the frames")
    return images


def decode_together(vae, chunk: torch.Tensor, progress: FrameProgress, tile: int | None) -> torch.Tensor:
    """Decode frames in one pass, [f, 4, h, w] -> [f, h * 8, w * 8, 3]; with `tile`, or out of memory, place by place."""
    with comfy.model_management.cuda_device_context(vae.device):
        memory = vae.memory_used_decode(chunk.shape, vae.vae_dtype) * chunk.shape[0]
        comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)
        for side in (tile, *(side for side in TILES[1:] if tile is None or side < tile)):
            try:
                return _decode_places(vae, chunk, progress, side)
            except Exception as error:
                comfy.model_management.raise_non_oom(error)
                logging.warning("Out of memory while decoding %d frames together, retrying in smaller tiles.", chunk.shape[0])
            # outside the except block, so that the failed pass is freed first
            comfy.model_management.soft_empty_cache()
    return vae.decode_tiled(chunk)  # frame by frame


def tile_for_cpu(vae, samples: torch.Tensor) -> int | None:
    """The side of the largest tile that the free memory of a CPU holds, None where whole frames fit or a GPU decodes.

    ComfyUI recovers from a GPU that is out of memory; on a CPU the system ends the process. Raises InputError where no tile fits.
    """
    if not comfy.model_management.is_device_cpu(vae.device):
        return None
    frames, (height, width) = min(CHUNK, samples.shape[0]), samples.shape[-2:]
    free = SHARE * comfy.model_management.get_free_memory(vae.device)
    if memory_of(vae, frames, height, width) <= free:
        return None
    for side in TILES:
        if side < max(height, width) and memory_of(vae, frames, min(height, side), min(width, side)) <= free:
            logging.info("Decoding in tiles of %d pixels, for which the free memory suffices.", side * PIXELS_PER_LATENT)
            return side
    least = min(height, TILES[-1]) * min(width, TILES[-1])
    fits = PIXELS_PER_LATENT * int(math.sqrt(least * free / memory_of(vae, frames, 1, least)))
    raise InputError(
        f"Decoding {frames} frames of {width * PIXELS_PER_LATENT}x{height * PIXELS_PER_LATENT} together takes "
        f"{memory_of(vae, frames, height, width) / 1e9:.1f} GB, in the smallest tiles {memory_of(vae, frames, 1, least) / 1e9:.1f} GB, and "
        f"{free / SHARE / 1e9:.1f} GB are free, which hold {fits}x{fits}; close other programs, or choose decoder = image in Cinemo "
        "Bundle Loader."
    )


def memory_of(vae, frames: int, height: int, width: int, maps: int = MAPS) -> float:
    """Bytes that decoding takes in addition to the weights, for frames of height x width latents that are decoded together."""
    pixels = frames * height * width * PIXELS_PER_LATENT**2
    return maps * vae.first_stage_model.decoder.conv_out.in_channels * pixels * comfy.model_management.dtype_size(vae.vae_dtype)


def _decode_places(vae, chunk: torch.Tensor, progress: FrameProgress, side: int | None) -> torch.Tensor:
    """All frames of a chunk together, whole or in tiles of `side` latents whose seams are blended over a quarter of it."""
    frames, _, height, width = chunk.shape
    overlap = (side or 0) // 4

    def decode(clip: torch.Tensor) -> torch.Tensor:  # 1 c f h w -> the same in pixels
        pixels = vae.first_stage_model.decode(clip[0].movedim(1, 0).to(device=vae.device, dtype=vae.vae_dtype))
        return pixels.movedim(0, 1)[None].to(vae.vae_output_dtype())

    clip = chunk.movedim(0, 1)[None]
    if side is None or side >= max(height, width):
        with progress.watch(frames):
            pixels = decode(clip).to(vae.output_device)
    else:
        with progress.watch(frames, comfy.utils.get_tiled_scale_steps(width, height, side, side, overlap)):
            pixels = _tiled(clip, decode, side, overlap, vae.output_device)
    return vae.process_output(pixels[0]).movedim(0, -1)


def _tiled(clip: torch.Tensor, decode: Callable, side: int, overlap: int, device) -> torch.Tensor:
    return comfy.utils.tiled_scale_multidim(
        clip,
        decode,
        tile=(clip.shape[2], side, side),
        overlap=(0, overlap, overlap),
        upscale_amount=(1, PIXELS_PER_LATENT, PIXELS_PER_LATENT),
        out_channels=3,
        output_device=device,
    ).clone()  # ComfyUI makes it in inference mode, and it is changed in place later
