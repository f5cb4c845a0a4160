"""Decoding of a clip, whole or in the reference's chunks."""

import logging

import comfy.model_management
import comfy.utils
import torch

from ..errors import InputError
from ..shapes import check_clip_latent, check_finite
from .vae import check_numbers, is_temporal

CHUNK = 14  # frames that the temporal decoder sees at once, as in the reference


def decode_clip(vae, samples: torch.Tensor) -> torch.Tensor:
    """Frame latents [f, 4, h, w] to an IMAGE [f, h * 8, w * 8, 3] in 0..1, frame 0 the input image.

    A temporal decoder sees the frames in fixed chunks, because its result depends on which frames it sees together and
    ComfyUI would choose them by free memory. An image VAE decodes in ComfyUI's own batches.
    """
    if vae is None:
        raise InputError("There is no VAE: the checkpoint held none; load one with VAELoader or Cinemo Bundle Loader.")
    check_clip_latent(samples)
    check_finite(samples)
    if vae.latent_channels != samples.shape[1]:
        raise InputError(
            f"The VAE decodes latents of {vae.latent_channels} channels, the clip has {samples.shape[1]}: connect the "
            "VAE that encoded the image."
        )
    vae.throw_exception_if_invalid()
    temporal = is_temporal(vae)
    progress = comfy.utils.ProgressBar(samples.shape[0])
    frames = []
    for chunk in samples.split(CHUNK):
        comfy.model_management.throw_exception_if_processing_interrupted()
        frames.append(decode_together(vae, chunk) if temporal else vae.decode(chunk))
        progress.update(chunk.shape[0])
    images = torch.cat(frames)
    check_numbers(images, vae, "the frames")
    return images


def decode_together(vae, chunk: torch.Tensor) -> torch.Tensor:
    """Decode frames in one pass, [f, 4, h, w] -> [f, h * 8, w * 8, 3]; out of memory, in tiles, as `VAE.decode` does."""
    with comfy.model_management.cuda_device_context(vae.device):
        memory = vae.memory_used_decode(chunk.shape, vae.vae_dtype) * chunk.shape[0]
        comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)
        try:
            pixels = vae.first_stage_model.decode(chunk.to(device=vae.device, dtype=vae.vae_dtype))
            return vae.process_output(pixels.to(device=vae.output_device, dtype=vae.vae_output_dtype(), copy=True)).movedim(1, -1)
        except Exception as error:
            comfy.model_management.raise_non_oom(error)
            logging.warning("Out of memory while decoding %d frames together, retrying frame by frame in tiles.", chunk.shape[0])
    # outside the except block, so that the failed pass is freed first
    comfy.model_management.soft_empty_cache()
    return vae.decode_tiled(chunk)
