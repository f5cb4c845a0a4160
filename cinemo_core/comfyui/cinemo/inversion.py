"""Inversion of a clip to initial noise on ComfyUI's sampling, so that patches, LoRA, previews and interruption work as in sampling."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch

from ...errors import InputError
from ...models.cinemo.inversion import invert, relative_error, resample_frames
from ...models.cinemo.schedule import check_run
from ...motion.residual import split_clip, static_clip
from ...shapes import MIN_FRAMES, PIXELS_PER_LATENT, check_clip_latent, check_finite, check_image, check_video_size
from ..description import check_model
from ..pictures import ClipSize, encode_images, fit
from .conditioning import VAES, ClipCondition, Motion, attach_clip
from .model import CinemoSupported
from .sampling import REFERENCE_SCHEDULER, Sampling, moving_preview, reference_sigmas, sample_clip


class InvertedNoise:
    """A NOISE that is the same for every seed: the noise of a clip's residuals, [f, 4, h, w], frame 0 zero."""

    seed = 0

    def __init__(self, noise: torch.Tensor):
        self.noise = noise

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        samples = input_latent["samples"]
        check_clip_latent(samples)
        if samples.shape != self.noise.shape:
            raise InputError(
                f"The inverted noise is that of a clip of {_size(self.noise)}, the sampler works on {_size(samples)}; "
                "give both the same width, height and frames."
            )
        return self.noise.to(samples.dtype, copy=True)


@dataclass(frozen=True)
class Source:
    """The clip to invert: images [n, h, w, 3 or 4] in 0..1 with the VAE that encodes them, or a LATENT."""

    images: torch.Tensor | None = None
    latent: dict | None = None
    vae: Any = None


@dataclass(frozen=True)
class Inversion:
    """How a clip is inverted. check: sample it back, to measure how far that ends from the clip."""

    steps: int
    cfg: float
    check: bool = True


def invert_video(
    model, positive: list, negative: list, source: Source, size: ClipSize, motion: Motion, settings: Inversion
) -> tuple[InvertedNoise, dict, str]:
    """Invert a clip with its own first frame as z0.

    Images are resized to `size` and encoded; images and latents are resampled to its number of frames. The conditionings are
    those of the text alone: the clip is attached here. Returns the noise, the LATENT of the clip and a sentence with the error
    of sampling the clip back with the same settings. Raises InputError for input that does not fit.
    """
    check_model(model, CinemoSupported)
    check_run(settings.steps, denoise=1.0)
    motion_id, steps, cfg = motion.id, settings.steps, settings.cfg
    clip = read_source(source, size)
    positive, negative = attach_clip(ClipCondition(clip[:1], motion_id, size.frames), positive, negative)
    moves = bool((clip != clip[:1]).any())
    runs = 2 if settings.check and moves else 1
    noise = invert_clip(model, positive, negative, clip, steps, cfg, part=(0, runs))
    if not settings.check:
        report = "Round trip not measured."
    elif not moves:
        report = "The clip stands still: there is no motion to bring back."
    else:
        error = round_trip_error(model, positive, negative, clip, noise, steps, cfg, part=(1, runs))
        report = f"Inverted and sampled back in {steps} steps: the motion returns with a relative error of {error:.3g}."
    logging.info("Cinemo Invert Video: %s", report)
    return noise, {"samples": clip}, report


def invert_clip(
    model, positive: list, negative: list, clip: torch.Tensor, steps: int, cfg: float, part: tuple[int, int] = (0, 1)
) -> InvertedNoise:
    """Noise from which `sample_clip` with "ddim", the reference's schedule and the same settings gives the clip back.

    clip: unscaled latents [f, 4, h, w] whose frame 0 is the z0 of both conditionings. `part` as in `sample_clip`.
    """
    sigmas = reference_sigmas(model, steps, 1.0).flip(0)
    with moving_preview(model, len(sigmas) - 1, part) as callback:
        inverted = comfy.samplers.sample(
            model,
            torch.zeros_like(clip),
            positive,
            negative,
            cfg,
            model.load_device,
            comfy.samplers.KSAMPLER(ddim_inversion),
            sigmas,
            model_options=model.model_options,
            latent_image=clip,
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=InvertedNoise.seed,
        )
    scaled = model.model.process_latent_in(inverted.cpu())
    return InvertedNoise(scaled - scaled[:1])


def ddim_inversion(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A ComfyUI sampler function for rising sigmas: a clip in, z0 + noise out; see `inversion.invert`."""

    def denoise(frames, sigma):
        return model(frames, frames.new_full([frames.shape[0]], sigma), **(extra_args or {}))

    def report(step, frames, sigma, denoised):
        if callback is not None:
            callback({"x": frames, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

    return invert(denoise, x, sigmas, report, partial(comfy.utils.model_trange, disable=disable))


def round_trip_error(
    model, positive: list, negative: list, clip: torch.Tensor, noise: InvertedNoise, steps: int, cfg: float, part: tuple[int, int] = (0, 1)
) -> float:
    """How far sampling from the inverted noise ends from the clip, which must move: relative RMS of the residuals."""
    z0, motion = split_clip(clip)
    still = {"samples": static_clip(z0, clip.shape[0])}
    _, found = sample_clip(
        model, positive, negative, still, Sampling(noise.seed, steps, cfg, "ddim", REFERENCE_SCHEDULER), noise=noise, part=part
    )
    return relative_error(found["samples"], motion)


def read_source(source: Source, size: ClipSize) -> torch.Tensor:
    """The clip to invert as unscaled latents [frames, 4, h, w], from whichever of images and latent is there."""
    images, latent = source.images, source.latent
    if latent is not None and images is None:
        if size.frames < MIN_FRAMES:
            raise InputError(f"A clip of {size.frames} frame(s) was asked for; choose {MIN_FRAMES} or more.")
        check_clip_latent(latent["samples"])
        check_finite(latent["samples"])
        return resample_frames(latent["samples"], size.frames).to(comfy.model_management.intermediate_device())
    if images is not None and latent is None:
        check_video_size(size.width, size.height, size.frames)
        check_image(images)
        return encode_images(source.vae, fit(resample_frames(images, size.frames), size), VAES)
    found = "neither images nor a latent" if images is None else "both images and a latent"
    raise InputError(f"Cinemo Invert Video got {found}; connect the clip to one of the two.")


def _size(samples: torch.Tensor) -> str:
    frames, _, height, width = samples.shape
    return f"{frames} frames of {width * PIXELS_PER_LATENT}x{height * PIXELS_PER_LATENT}"
