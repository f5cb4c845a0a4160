"""NOISE whose low frequencies come from a noised picture, for any model; see `motion.low_pass`.

What a model does to data at a noise level, and on what scale its network sees the result, is read from its `model_sampling`.
So one line serves variance-preserving models, EDM and flow matching, and those with a schedule of their own.
"""

import comfy.patcher_extension
import comfy.sample
import torch

from ..errors import InputError
from ..motion.low_pass import LEVELS, Forward, LowPass, refine
from ..motion.residual import first_frame
from ..resize import resize_image
from ..shapes import check_any_clip, check_finite, check_image
from .vae import check_numbers

PATCH = "cinemo_low_pass_noise"
LEAST_POWER = 0.25  # of picture and noise together, half way through the schedule; flow matching has 0.5, its least


class LowPassNoise:
    """Noise of a clip, its low band that of a noised picture. Made on the CPU, hence the same on every device.

    z0: the picture in the network's latent scale, [1, c, h, w]. source: the NOISE to refine. forward: the model's forward process.
    pinned: how many frames at the start the model replaces by the picture itself; they keep the noise of the source.
    It takes clips with frames as batch, [f, c, h, w], and with an axis of frames, [b, c, f, h, w].
    """

    def __init__(self, z0: torch.Tensor, source, band: LowPass, forward: Forward, pinned: int = 0):
        self.z0 = z0
        self.source = source
        self.band = band
        self.forward = forward
        self.pinned = pinned

    @property
    def seed(self) -> int:
        return self.source.seed

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        samples = input_latent["samples"]
        check_any_clip(samples)
        if (samples.shape[1], *samples.shape[-2:]) != self.z0.shape[1:]:
            found, expected = (f"{x.shape[-1]}x{x.shape[-2]}" for x in (samples, self.z0))
            if found == expected:
                found, expected = (f"{x.shape[1]} channels" for x in (samples, self.z0))
            raise InputError(
                f"The DCTInit noise was made for latents of {expected}, the sampler works on {found}; "
                "connect the same latent to the noise and to the sampler."
            )
        noise = self.source.generate_noise(input_latent)
        if noise.ndim == 4:
            return self._refine(noise)
        return torch.stack([self._refine(clip.movedim(1, 0)).movedim(0, 1) for clip in noise])  # b c f h w

    def _refine(self, noise: torch.Tensor) -> torch.Tensor:
        if noise.shape[0] <= self.pinned:
            return noise
        refined = refine(self.z0, noise[self.pinned :], self.band, self.forward)
        return torch.cat([noise[: self.pinned], refined])


def for_model(model, latent: dict, source, band: LowPass, image: torch.Tensor | None = None, vae=None) -> LowPassNoise:
    """The noise for a MODEL. The picture is an IMAGE and the VAE that encodes it, else the first frame of `latent`.

    Raises InputError for a latent or picture that does not fit, and for a model whose forward process is not understood.
    """
    check_any_clip(latent["samples"])
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], latent.get("downscale_ratio_spacial"))  # as samplers do
    channels = model.get_model_object("latent_format").latent_channels
    if samples.shape[1] != channels:
        raise InputError(
            f"The latent has {samples.shape[1]} channels and the model {channels}: "
            "connect the latent that the sampler of this model works on."
        )
    forward = forward_process(model, band.noise_level)
    if image is None and not samples.any():
        raise InputError(
            "The latent is empty, so it has no picture to take low frequencies from; connect image and vae, the ones of the conditioning."
        )
    picture = first_frame(samples)[:1].clone() if image is None else encode_picture(image, vae, samples)
    check_finite(picture)
    if picture.shape[1] != channels:
        raise InputError(
            f"The VAE makes latents of {picture.shape[1]} channels and the model has {channels}: connect the VAE that belongs to the model."
        )
    z0 = model.model.process_latent_in(picture)
    pinned = getattr(model.model, "pinned_frames", 0)
    return LowPassNoise(z0 if z0.ndim == 4 else z0[:, :, 0], source, band, forward, pinned)


def forward_process(model, noise_level: int) -> Forward:
    """How a MODEL noises data to a level, as its network sees it, on the scale on which a sampler's first noise has unit variance.

    The level is a share of the schedule: level / 999 of the way from clean to noise, for a discrete schedule that timestep. The
    state there is `noise_scaling(sigma, noise, data)`: data + sigma * noise, or (1 - sigma) * data + sigma * noise. The network
    sees `calculate_input` of it, for the first kind a division by sqrt(1 + sigma^2). The same of pure noise at the largest sigma is
    the unit. Raises InputError where data and noise do not keep their power that way.
    """
    sampling = model.get_model_object("model_sampling")
    ends = float(sampling.sigma_min), float(sampling.sigma_max)
    one, zero = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    def seen(sigma: float, noise: torch.Tensor, data: torch.Tensor, at_start: bool = False) -> torch.Tensor:
        at = torch.tensor([sigma], dtype=torch.float64)
        return sampling.calculate_input(at, sampling.noise_scaling(at, noise.clone(), data, at_start))

    def sigma_at(level: float) -> float:
        sigma = float(sampling.percent_to_sigma(1 - level / (LEVELS - 1)))
        return min(max(sigma, ends[0]), ends[1])

    unit = float(seen(ends[1], one, zero, at_start=True))
    middle = sigma_at((LEVELS - 1) / 2)
    power = (float(seen(middle, one, zero)) ** 2 + float(seen(middle, zero, one)) ** 2) / unit**2 if unit else 0.0
    if not power >= LEAST_POWER:
        raise InputError(
            f"DCTInit cannot tell how {type(model.model).__name__} noises its data; "
            "it supports variance-preserving, EDM and flow-matching models."
        )
    sigma = sigma_at(noise_level)
    data_gain, noise_gain = float(seen(sigma, zero, one)) / unit, float(seen(sigma, one, zero)) / unit
    return lambda z0, noise: data_gain * z0 + noise_gain * noise


def patch_model(model, noise: LowPassNoise):
    """A clone of a MODEL on which every sampler starts from this noise, also one that draws its own, like KSampler.

    A sampler that adds no noise, such as the second of two KSamplers (Advanced), is left alone.
    """

    def outer_sample(executor, own, latent_image, *args, **kwargs):
        if own.any():
            own = noise.generate_noise({"samples": latent_image}).to(own)
        return executor(own, latent_image, *args, **kwargs)

    patched = model.clone()
    patched.remove_wrappers_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, PATCH)  # of an earlier node: the last one counts
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, PATCH, outer_sample)
    return patched


def encode_picture(image: torch.Tensor, vae, samples: torch.Tensor) -> torch.Tensor:
    """A picture as the first frame of a clip of the size of `samples`: filled and centred, encoded alone, unscaled."""
    if vae is None:
        raise InputError("There is an image and no VAE to encode it; connect the VAE that belongs to the model.")
    check_image(image)
    scale = vae.spacial_compression_encode()
    height, width = (round(side * scale) for side in samples.shape[-2:])
    latent = first_frame(vae.encode(resize_image(image[:1], width, height, "cover"))).clone()
    if latent.shape[-2:] != samples.shape[-2:]:
        raise InputError(
            f"The VAE made a latent of {latent.shape[-1]}x{latent.shape[-2]} from {width}x{height} pixels, and the clip's is "
            f"{samples.shape[-1]}x{samples.shape[-2]}: connect the VAE that belongs to the model."
        )
    check_numbers(latent, vae, "the image")
    return latent
