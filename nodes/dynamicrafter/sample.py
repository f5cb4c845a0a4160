"""Sampling nodes: the KSampler that follows the authors, and its parts for custom sampling."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.dynamicrafter.guidance import Guidance, make_guider, with_rescale
from ...cinemo_core.comfyui.dynamicrafter.sampling import (
    AUTO,
    REFERENCE,
    SPACINGS,
    ReferenceDDIM,
    Sampling,
    reference_sigmas,
    sample_clip,
    sampler_names,
    scheduler_names,
)
from .. import inputs
from . import inputs as own


class CinemoDynamiCrafterKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterKSampler",
            display_name="Cinemo DynamiCrafter KSampler",
            category=own.CATEGORY,
            description="Samples a clip as the authors do: their DDIM, their steps, their guidance. Other samplers work too.",
            search_aliases=["ksampler", "sampler", "dynamicrafter", "image to video", "i2v", "ddim", "animate"],
            inputs=[
                own.model(),
                own.conditioning("positive"),
                own.conditioning("negative"),
                io.Latent.Input("latent_image", tooltip="From Cinemo DynamiCrafter Conditioning, or a real clip with denoise below 1."),
                inputs.seed("Seed of the noise, and of samplers that add noise while they run."),
                own.steps(),
                own.cfg(),
                io.Combo.Input(
                    "sampler_name",
                    options=sampler_names(),
                    default=REFERENCE,
                    tooltip="How noise is removed. dynamicrafter_ddim: the authors' own. The others are ComfyUI's.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=scheduler_names(),
                    default=REFERENCE,
                    tooltip="Noise levels of the steps. dynamicrafter_ddim: the authors' own. The others are ComfyUI's.",
                ),
                own.denoise(),
                own.eta(),
                own.image_cfg(),
                own.guidance_rescale(),
                own.reference_brightness(),
                io.Noise.Input(
                    "noise", optional=True, tooltip="Initial noise, such as Cinemo DCTInit Noise; otherwise drawn from the seed."
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The frames, ready to decode.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        denoise,
        eta,
        image_cfg,
        guidance_rescale,
        reference_brightness,
        noise=None,
    ) -> io.NodeOutput:
        guidance = Guidance(cfg, image_cfg, guidance_rescale)
        sampling = Sampling(seed, steps, sampler_name, scheduler, denoise, eta, reference_brightness, guidance)
        return io.NodeOutput(sample_clip(model, positive, negative, latent_image, sampling, noise))


class CinemoDynamiCrafterGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterGuider",
            display_name="Cinemo DynamiCrafter Guider",
            category=own.CATEGORY,
            description="The authors' guidance for SamplerCustomAdvanced: rescaled over the whole clip, text and image together or apart.",
            search_aliases=["guider", "cfg", "dual cfg", "rescale cfg", "guidance rescale", "dynamicrafter"],
            inputs=[
                own.model(),
                own.conditioning("positive"),
                own.conditioning("negative"),
                own.cfg(),
                own.image_cfg(),
                own.guidance_rescale(),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced, with any sampler and any steps.")],
        )

    @classmethod
    def execute(cls, model, positive, negative, cfg, image_cfg, guidance_rescale) -> io.NodeOutput:
        return io.NodeOutput(make_guider(model, positive, negative, Guidance(cfg, image_cfg, guidance_rescale)))


class CinemoDynamiCrafterRescaleGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterRescaleGuidance",
            display_name="Cinemo DynamiCrafter Rescale Guidance",
            category=own.CATEGORY,
            description="The authors' rescale of the guidance for ComfyUI's own KSampler and guiders, as a patch of the model.",
            search_aliases=["rescale cfg", "guidance rescale", "cfg", "patch", "dynamicrafter", "ksampler"],
            inputs=[own.model(), own.guidance_rescale(advanced=False)],
            outputs=[io.Model.Output(tooltip="The model with rescaled guidance, for KSampler, CFGGuider and others.")],
        )

    @classmethod
    def execute(cls, model, guidance_rescale) -> io.NodeOutput:
        return io.NodeOutput(with_rescale(model, guidance_rescale))


class CinemoDynamiCrafterScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterScheduler",
            display_name="Cinemo DynamiCrafter Scheduler",
            category=own.CATEGORY,
            description="The noise levels of the authors' steps, for SamplerCustomAdvanced and any sampler.",
            search_aliases=["scheduler", "sigmas", "ddim", "uniform trailing", "dynamicrafter", "custom sampling"],
            inputs=[
                own.model("A DynamiCrafter model; its noise table is read."),
                own.steps(),
                own.denoise(),
                io.Combo.Input(
                    "spacing",
                    options=list(SPACINGS),
                    default=AUTO,
                    tooltip="Where the steps are. auto: as the authors sample this model. uniform: from timestep 1 on (256). "
                    "uniform_trailing: from the last timestep on (the others).",
                    advanced=True,
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="Noise levels; the last is that of timestep 0, not zero, as in the reference.")],
        )

    @classmethod
    def execute(cls, model, steps, denoise, spacing) -> io.NodeOutput:
        return io.NodeOutput(reference_sigmas(model, steps, denoise, spacing))


class CinemoDynamiCrafterDDIM(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterDDIM",
            display_name="Cinemo DynamiCrafter DDIM",
            category=own.CATEGORY,
            description="The authors' DDIM sampler with fresh noise (eta), for SamplerCustomAdvanced and a DynamiCrafter model.",
            search_aliases=["sampler", "ddim", "eta", "ancestral", "dynamicrafter", "custom sampling"],
            inputs=[own.eta(), own.reference_brightness()],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced; its fresh noise follows from the seed there.")],
        )

    @classmethod
    def execute(cls, eta, reference_brightness) -> io.NodeOutput:
        return io.NodeOutput(ReferenceDDIM(eta, reference_brightness))


NODES = [
    CinemoDynamiCrafterKSampler,
    CinemoDynamiCrafterRescaleGuidance,
    CinemoDynamiCrafterGuider,
    CinemoDynamiCrafterScheduler,
    CinemoDynamiCrafterDDIM,
]
