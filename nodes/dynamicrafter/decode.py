"""The decoder of ToonCrafter, which reads the first and the last picture besides the latents."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.dynamicrafter.toon import Pictures, decode_with_pictures
from .. import inputs
from . import inputs as own


class CinemoToonCrafterDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoToonCrafterDecode",
            display_name="Cinemo ToonCrafter Decode",
            category=own.CATEGORY,
            description="Decodes a clip of ToonCrafter with the details of its first and last picture, all frames together.",
            search_aliases=["tooncrafter", "vae decode", "decode video", "cartoon interpolation", "dual reference decoder"],
            inputs=[
                io.Latent.Input("samples", tooltip="The clip from a sampler."),
                io.Vae.Input("vae", tooltip="ToonCrafter's VAE, from Cinemo DynamiCrafter Loader."),
                io.Image.Input("first", tooltip="The picture that the clip begins with; its lines are carried into the frames."),
                io.Image.Input("last", tooltip="The picture that the clip ends with."),
                inputs.resize("How the pictures meet the size of the clip."),
            ],
            outputs=[io.Image.Output(tooltip="The frames, for Create Video or Save Image.")],
        )

    @classmethod
    def execute(cls, samples, vae, first, last, resize) -> io.NodeOutput:
        return io.NodeOutput(decode_with_pictures(vae, samples["samples"], Pictures(first, last, resize)))


NODES = [CinemoToonCrafterDecode]
