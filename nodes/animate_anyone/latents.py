"""More frames from a sampled clip."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.animate_anyone.latents import interpolate_clip
from ...cinemo_core.models.animate_anyone.interpolation import METHODS
from . import inputs as own


class CinemoAnimateAnyoneInterpolate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneInterpolate",
            display_name="Cinemo Animate Anyone Interpolate",
            category=own.CATEGORY,
            description="Puts frames between those of a clip by interpolating its latents, as the published code does.",
            search_aliases=["interpolation", "frame interpolation", "slerp", "lerp", "more frames", "fps", "animate anyone"],
            inputs=[
                io.Latent.Input("samples", tooltip="A clip from a sampler, before it is decoded."),
                io.Int.Input(
                    "factor",
                    default=2,
                    min=1,
                    max=16,
                    tooltip="How many times as many frames: 2 puts one between every two. Multiply the frame rate by it, too.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="slerp",
                    tooltip="How the frames between come about. linear: a fade between two frames. slerp: the same along an arc, "
                    "which keeps the contrast.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The longer clip, ready to decode.")],
        )

    @classmethod
    def execute(cls, samples, factor, method) -> io.NodeOutput:
        return io.NodeOutput({"samples": interpolate_clip(samples["samples"], factor, method)})


NODES = [CinemoAnimateAnyoneInterpolate]
