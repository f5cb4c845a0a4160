"""DCTInit as Cinemo's authors use it, where no MODEL is given: Cinemo's schedule, its latents, and frame 0 pinned to the image."""

from functools import partial

import comfy.latent_formats
import torch

from ...errors import InputError
from ...models.cinemo.dctinit import add_noise
from ...motion.low_pass import LowPass
from ...shapes import check_clip_latent, check_latent
from ..absent import Absent
from ..low_pass_noise import LowPassNoise, encode_picture, for_model, patch_model


class DCTInitNoise(LowPassNoise):
    """Noise whose low frequencies come from the first frame of a clip (DCTInit, paper sec. 3.3).

    clip: latent [f, 4, h, w] whose frame 0 is the input image, as the VAE gives it (unscaled); that image alone is enough.
    source: the NOISE to refine. Frame 0, which the model pins to the image, keeps the noise of the source.
    """

    def __init__(self, clip: torch.Tensor, source, band: LowPass):
        check_latent(clip)
        z0 = comfy.latent_formats.SD15().process_in(clip[:1].clone())
        super().__init__(z0, source, band, partial(add_noise, timestep=band.noise_level), pinned=1)

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        check_clip_latent(input_latent["samples"])
        return super().generate_noise(input_latent)


def initial_noise(latent: dict, source, band: LowPass, model=None, image: torch.Tensor | None = None, vae=None) -> tuple:
    """The NOISE, and the MODEL that starts every sampler from it. Without a MODEL the noise is for Cinemo."""
    if image is None and vae is not None:
        raise InputError("There is a VAE and no image to encode with it; connect the image that is animated, or remove the VAE.")
    if model is not None:
        noise = for_model(model, latent, source, band, image, vae)
        return noise, patch_model(model, noise)
    samples = latent["samples"]
    check_latent(samples)
    clip = samples if image is None else encode_picture(image, vae, samples)
    nothing = "The output model of Cinemo DCTInit Noise has nothing in it: connect a model to the node's input of that name."
    return DCTInitNoise(clip, source, band), Absent(nothing)
