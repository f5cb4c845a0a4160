"""The node that finds the initial noise of a given clip (DDIM inversion)."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo.conditioning import Motion
from ...cinemo_core.comfyui.cinemo.inversion import Inversion, Source, invert_video
from ...cinemo_core.comfyui.pictures import ClipSize
from ...cinemo_core.comfyui.progress import show_on_node
from .. import inputs
from . import inputs as own


class CinemoInvertVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoInvertVideo",
            display_name="Cinemo Invert Video",
            category=inputs.CATEGORY,
            description="Finds the noise from which Cinemo makes the motion of a clip, to give that motion to another or an edited image.",
            search_aliases=["ddim inversion", "invert", "motion transfer", "video editing", "video to noise", "reverse sampling", "cinemo"],
            inputs=[
                own.model("A Cinemo model, with any patch or LoRA; use the same one for sampling."),
                io.Conditioning.Input("positive", tooltip="What the clip shows: plain text; the clip itself is attached here."),
                io.Conditioning.Input("negative", tooltip="The negative prompt; not used while cfg is 1."),
                inputs.width("Images are resized to this width in pixels; a latent keeps its own."),
                inputs.height("Images are resized to this height in pixels; a latent keeps its own."),
                inputs.frames(
                    "A clip of another length is resampled to this one: evenly spaced frames from first to last, repeated if it is shorter."
                ),
                own.steps("Number of inversion steps; sample with as many. More follow the clip more closely. The authors use 50."),
                inputs.cfg(
                    1.0,
                    "Guidance while inverting; sample with the same. The authors use 1 both ways; above it "
                    "the clip comes back less exactly.",
                ),
                own.motion_bucket("How much the clip moves: 0 least, 19 most; sample with the same. See Cinemo Motion Conditioning."),
                inputs.resize("How images meet the size."),
                own.motion_id(),
                io.Boolean.Input(
                    "measure",
                    default=True,
                    tooltip="Sample the clip back from its noise and print how far it ends from where it was. Takes as long as "
                    "the inversion.",
                    advanced=True,
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="The clip as images of any size and number. Connect either this or latent."
                ),
                io.Latent.Input("latent", optional=True, tooltip="The clip as latents, in place of images; the VAE is not needed then."),
                io.Vae.Input("vae", optional=True, tooltip="Encodes the images: Cinemo's own VAE or one of Stable Diffusion 1.x."),
            ],
            outputs=[
                io.Noise.Output(
                    display_name="noise",
                    tooltip="The noise of the clip's motion, for Cinemo Residual KSampler with ddim and cinemo_ddim, or for "
                    "Cinemo DCTInit Noise.",
                ),
                io.Latent.Output(display_name="clip", tooltip="The clip that was inverted, at its final size and length."),
                io.String.Output(display_name="report", tooltip="How exactly the noise gives the clip back, in a sentence."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        width,
        height,
        frames,
        steps,
        cfg,
        motion_bucket,
        resize,
        motion_id,
        measure,
        images=None,
        latent=None,
        vae=None,
    ) -> io.NodeOutput:
        source, size = Source(images, latent, vae), ClipSize(width, height, frames, resize)
        motion, settings = Motion(motion_bucket, motion_id), Inversion(steps, cfg, measure)
        noise, clip, report = invert_video(model, positive, negative, source, size, motion, settings)
        show_on_node(report, cls.hidden)
        return io.NodeOutput(noise, clip, report)


NODES = [CinemoInvertVideo]
