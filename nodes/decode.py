"""The node that turns the latents of a clip into frames."""

from comfy_api.latest import io

from ..cinemo_core.comfyui.decode import decode_clip
from . import inputs


class CinemoVideoDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoVideoDecode",
            display_name="Cinemo Video Decode",
            category=inputs.CATEGORY,
            description="Decodes the frames of a clip; a temporal decoder sees 14 at once, as the authors' code does, whatever "
            "memory is free.",
            search_aliases=["vae decode", "decode video", "temporal decoder", "latent to image", "cinemo"],
            inputs=[
                io.Latent.Input("samples", tooltip="The clip from a sampler."),
                io.Vae.Input("vae", tooltip="The VAE that encoded the image."),
            ],
            outputs=[io.Image.Output(tooltip="The frames, for Create Video or Save Image.")],
        )

    @classmethod
    def execute(cls, samples, vae) -> io.NodeOutput:
        return io.NodeOutput(decode_clip(vae, samples["samples"]))


NODES = [CinemoVideoDecode]
