"""The node that makes initial noise with the image's own layout (DCTInit)."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo.noise import initial_noise
from ...cinemo_core.comfyui.noise import random_noise
from ...cinemo_core.motion.low_pass import TRANSFORMS, LowPass
from .. import inputs


class CinemoDCTInitNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDCTInitNoise",
            display_name="Cinemo DCTInit Noise",
            category=inputs.CATEGORY,
            description="Initial noise that takes its low spatial frequencies from the image, so that the clip does not jump away from it.",
            search_aliases=["dct", "dctinit", "noise init", "freeinit", "cinemo noise", "random noise"],
            inputs=[
                io.Latent.Input(
                    "latent",
                    tooltip="The latent that the sampler works on. Its first frame gives the low frequencies, unless image is connected.",
                ),
                inputs.seed("Seed of the noise; the same seed gives the same noise on every device. Unused when noise is connected."),
                inputs.cutoff(
                    "Share of the image's low frequencies that the noise takes over. 0: plain noise. The authors use 0.21 to 0.25."
                ),
                inputs.noise_level("Timestep to which the image is noised first. Lower holds it more firmly. The authors use 975 to 995."),
                io.Float.Input(
                    "temporal_cutoff",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the temporal frequencies taken over. 1: all, as in the authors' code; the paper "
                    "describes a lower one.",
                    advanced=True,
                ),
                io.Noise.Input("noise", optional=True, tooltip="Noise to refine instead of a seeded one."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the noise is for, of any kind: its latents and its noise schedule count. Without it, Cinemo's.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that gives the low frequencies, for latents that begin empty, as of Wan and SVD. Needs vae.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="The model's VAE, which encodes image at the size of the latent."),
                io.Combo.Input(
                    "transform",
                    options=list(TRANSFORMS),
                    default=TRANSFORMS[0],
                    optional=True,
                    tooltip="How frequencies are found. dct: Cinemo's DCTInit. fft: the Fourier transform, as in FreeInit, to compare.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Noise.Output(tooltip="For Cinemo Residual KSampler or SamplerCustomAdvanced."),
                io.Model.Output(
                    display_name="model",
                    tooltip="The model, patched so that every sampler starts from this noise: for KSampler, which draws its own.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, latent, seed, cutoff, noise_level, temporal_cutoff, noise=None, model=None, image=None, vae=None, transform=TRANSFORMS[0]
    ) -> io.NodeOutput:
        source = random_noise(seed) if noise is None else noise
        return io.NodeOutput(*initial_noise(latent, source, LowPass(cutoff, noise_level, temporal_cutoff, transform), model, image, vae))


NODES = [CinemoDCTInitNoise]
