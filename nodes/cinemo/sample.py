"""Sampling nodes: the KSampler that follows the reference, and its schedule for custom sampling."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo.sampling import REFERENCE_SCHEDULER, SCHEDULES, Sampling, own_sigmas, sample_clip
from .. import inputs
from . import inputs as own
from .inputs import CFG

STEPS_TOOLTIP = "Number of denoising steps. The authors use 50; fewer is faster and rougher."
DENOISE_TOOLTIP = "1: start from noise alone. Below 1: keep that much less of the noise, to change a real clip (video to video)."


class CinemoResidualKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoResidualKSampler",
            display_name="Cinemo Residual KSampler",
            category=inputs.CATEGORY,
            description="Denoises the motion residuals of a clip. With ddim and cinemo_ddim it reproduces the authors' sampling exactly.",
            search_aliases=["ksampler", "sampler", "animate", "image to video", "i2v", "residual", "cinemo", "motion"],
            inputs=[
                own.model(),
                own.conditioning("positive"),
                own.conditioning("negative"),
                io.Latent.Input(
                    "latent_image", tooltip="The still clip from Cinemo Motion Conditioning, or a real clip with denoise below 1."
                ),
                inputs.seed("Seed of the noise, and of samplers that add noise while they run."),
                own.steps(STEPS_TOOLTIP),
                inputs.cfg(7.5, CFG),
                own.sampler_name(),
                own.scheduler(),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE_TOOLTIP),
                io.Noise.Input(
                    "noise", optional=True, tooltip="Initial noise, such as Cinemo DCTInit Noise; otherwise drawn from the seed."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The frames, ready to decode; frame 0 is the input image."),
                io.Latent.Output(display_name="residual", tooltip="The motion alone: each frame minus the first."),
            ],
        )

    @classmethod
    def execute(
        cls, model, positive, negative, latent_image, seed, steps, cfg, sampler_name, scheduler, denoise, noise=None
    ) -> io.NodeOutput:
        sampling = Sampling(seed, steps, cfg, sampler_name, scheduler, denoise)
        return io.NodeOutput(*sample_clip(model, positive, negative, latent_image, sampling, noise))


class CinemoDDIMScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDDIMScheduler",
            display_name="Cinemo DDIM Scheduler",
            category=inputs.CATEGORY,
            description="The authors' DDIM noise levels for any number of steps, or those for few steps, for SamplerCustomAdvanced.",
            search_aliases=["scheduler", "sigmas", "ddim", "cinemo", "custom sampling", "fast"],
            inputs=[
                own.model("A Cinemo model; its noise table is read."),
                own.steps(STEPS_TOOLTIP),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE_TOOLTIP),
                io.Combo.Input(
                    "schedule",
                    options=list(SCHEDULES),
                    default=REFERENCE_SCHEDULER,
                    optional=True,
                    tooltip="cinemo_ddim: the authors' own. cinemo_fast: for few steps, with the sampler dpmpp_2m.",
                ),
            ],
            outputs=[
                io.Sigmas.Output(
                    tooltip="Noise levels; the last is that of timestep 0, not zero, as in the reference. cinemo_fast ends at zero."
                )
            ],
        )

    @classmethod
    def execute(cls, model, steps, denoise, schedule=REFERENCE_SCHEDULER) -> io.NodeOutput:
        return io.NodeOutput(own_sigmas(model, schedule, steps, denoise))


NODES = [CinemoResidualKSampler, CinemoDDIMScheduler]
