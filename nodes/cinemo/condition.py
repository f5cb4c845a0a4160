"""The conditioning node: which image to animate, and how much it moves."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo.conditioning import Motion, condition_clip
from ...cinemo_core.comfyui.pictures import ClipSize
from ...cinemo_core.motion.buckets import BUCKETS, SAME_BUCKET
from .. import inputs
from . import inputs as own


class CinemoMotionConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoMotionConditioning",
            display_name="Cinemo Motion Conditioning",
            category=inputs.CATEGORY,
            description="Sets the image to animate, the size and length of the clip and the amount of motion; gives the still clip "
            "to start from.",
            search_aliases=["image to video", "i2v", "animate", "motion bucket", "motion strength", "cinemo", "video latent"],
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="What should happen: the prompt, from CLIP Text Encode or any conditioning node."
                ),
                io.Conditioning.Input("negative", tooltip="What should not happen: the negative prompt; an empty text is fine."),
                io.Vae.Input("vae", tooltip="Encodes the image: Cinemo's own VAE or one of Stable Diffusion 1.x."),
                io.Image.Input(
                    "image", tooltip="The image to animate. It becomes frame 0. Of a batch the first image is used; alpha is dropped."
                ),
                inputs.width("Width of the clip in pixels. Cinemo was trained at 512x320."),
                inputs.height("Height of the clip in pixels. Cinemo was trained at 512x320."),
                inputs.frames("Length of the clip, the image included. Cinemo was trained on 16 frames."),
                own.motion_bucket(
                    "How much the image moves: 0 least, 19 most. The direction was inferred from the authors' demo, see the help page."
                ),
                inputs.resize("How the image meets the size."),
                own.motion_id(),
                io.Int.Input(
                    "negative_bucket",
                    default=SAME_BUCKET,
                    min=SAME_BUCKET,
                    max=BUCKETS - 1,
                    tooltip="Motion of the negative. -1: the same as the positive's, as the authors sample. 0: a still picture, so "
                    "that cfg strengthens the motion along with the prompt; needs a lower cfg, 1.4 with nano.",
                    optional=True,  # an input that was added later: graphs in API format that lack it still run
                    advanced=True,
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the clip attached."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the clip attached."),
                io.Latent.Output(display_name="latent", tooltip="The still clip: the image in every frame. Start sampling from it."),
            ],
        )

    @classmethod
    def execute(
        cls, positive, negative, vae, image, width, height, frames, motion_bucket, resize, motion_id, negative_bucket=SAME_BUCKET
    ) -> io.NodeOutput:
        size, motion = ClipSize(width, height, frames, resize), Motion(motion_bucket, motion_id, negative_bucket)
        positive, negative, samples = condition_clip(positive, negative, vae, image, size, motion)
        return io.NodeOutput(positive, negative, {"samples": samples})


NODES = [CinemoMotionConditioning]
