"""The published code's sampler and noise, for a clip that follows it exactly."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.animate_anyone.sampling import PipelineNoise, reference_sampling
from ...cinemo_core.models.diffusion import TIMESTEPS
from .. import inputs
from . import inputs as own


class CinemoAnimateAnyoneSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneSampler",
            display_name="Cinemo Animate Anyone Sampler",
            category=own.CATEGORY,
            description="The DDIM of the published code, for SamplerCustomAdvanced: connect both outputs, and use cfg 3.5.",
            search_aliases=["sampler", "sigmas", "scheduler", "ddim", "trailing", "zero terminal snr", "animate anyone", "custom sampling"],
            inputs=[
                own.model("An Animate Anyone model; its noise table is read."),
                io.Int.Input(
                    "steps",
                    default=25,
                    min=1,
                    max=TIMESTEPS,
                    tooltip="Number of denoising steps. The published script takes 30; its steps are even for numbers that divide 1000, "
                    "such as 20 and 25.",
                ),
            ],
            outputs=[
                io.Sampler.Output(tooltip="The sampler, for the sigmas of this node alone."),
                io.Sigmas.Output(tooltip="Noise levels of the steps, from pure noise to none."),
            ],
        )

    @classmethod
    def execute(cls, model, steps) -> io.NodeOutput:
        return io.NodeOutput(*reference_sampling(model, steps))


class CinemoAnimateAnyoneNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneNoise",
            display_name="Cinemo Animate Anyone Noise",
            category=own.CATEGORY,
            description="Initial noise drawn as the published code draws it, so that the same seed gives its clip.",
            search_aliases=["noise", "random noise", "seed", "animate anyone", "custom sampling"],
            inputs=[inputs.seed("Seed of the noise. The published script takes 42.")],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, seed) -> io.NodeOutput:
        return io.NodeOutput(PipelineNoise(seed))


NODES = [CinemoAnimateAnyoneSampler, CinemoAnimateAnyoneNoise]
