"""NOISE refined by an image: what samplers ask for initial noise. Made on the CPU, hence the same on every device."""

import comfy.latent_formats
import torch

from ...errors import InputError
from ...models.cinemo.dctinit import check_low_pass, dct_init
from ...shapes import check_clip_latent, check_latent


class DCTInitNoise:
    """Noise whose low frequencies come from the first frame of a clip (DCTInit, paper sec. 3.3).

    clip: latent [f, 4, h, w] whose frame 0 is the input image, as the VAE gives it (unscaled); that image alone is enough.
    source: the NOISE to refine; cutoff, noise_level, temporal_cutoff: see `dctinit.dct_init`.
    Frame 0, which the model pins to the image, keeps the noise of the source.
    """

    def __init__(self, clip: torch.Tensor, source, cutoff: float, noise_level: int, temporal_cutoff: float):
        check_latent(clip)
        check_low_pass(cutoff, noise_level, temporal_cutoff)
        self.z0 = comfy.latent_formats.SD15().process_in(clip[:1].clone())
        self.source = source
        self.cutoff = cutoff
        self.noise_level = noise_level
        self.temporal_cutoff = temporal_cutoff

    @property
    def seed(self) -> int:
        return self.source.seed

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        samples = input_latent["samples"]
        check_clip_latent(samples)
        if samples.shape[1:] != self.z0.shape[1:]:
            raise InputError(
                f"The DCTInit noise was made for latents of {self.z0.shape[-1]}x{self.z0.shape[-2]}, the sampler works on "
                f"{samples.shape[-1]}x{samples.shape[-2]}; connect the latent of the same conditioning node to both."
            )
        noise = self.source.generate_noise(input_latent)
        refined = dct_init(self.z0, noise[1:], self.cutoff, self.noise_level, self.temporal_cutoff)
        return torch.cat([noise[:1], refined])
