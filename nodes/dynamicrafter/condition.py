"""The conditioning node: which image to animate, or which two to connect, and how much it moves."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.dynamicrafter.pictures import RECOMMENDED, Motion, Pictures, condition_clip, describe
from ...cinemo_core.comfyui.pictures import ClipSize
from ...cinemo_core.comfyui.progress import show_on_node
from ...cinemo_core.models.dynamicrafter.tokens import RESAMPLED, RULES
from .. import inputs
from . import inputs as own


class CinemoDynamiCrafterConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterConditioning",
            display_name="Cinemo DynamiCrafter Conditioning",
            category=own.CATEGORY,
            description="Sets the image to animate, or two to connect, the size and length of the clip and the amount of motion.",
            search_aliases=["dynamicrafter", "image to video", "i2v", "animate", "interpolation", "first last frame", "loop", "motion"],
            inputs=[
                io.Model.Input("model", tooltip="The DynamiCrafter model; it says which motion number is read and which is recommended."),
                io.Conditioning.Input("positive", tooltip="What should happen: the prompt, from CLIP Text Encode."),
                io.Conditioning.Input("negative", tooltip="What should not happen: the negative prompt; the authors leave it empty."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="The image encoder: OpenCLIP ViT-H, from the checkpoint or from Load CLIP Vision."
                ),
                io.Vae.Input("vae", tooltip="Encodes the image: the checkpoint's own VAE or one of Stable Diffusion."),
                io.Image.Input(
                    "image", tooltip="The image to animate, or the first of two. Of a batch the first is used; alpha is dropped."
                ),
                inputs.width("Width of the clip in pixels: 256, 512 or 1024, as the model was trained."),
                inputs.height("Height of the clip in pixels: 256 with the 256 model, 320 with 512, 576 with 1024."),
                inputs.frames("Length of the clip. DynamiCrafter was trained on 16 frames; other lengths are untested."),
                io.Int.Input(
                    "fps",
                    default=RECOMMENDED,
                    min=RECOMMENDED,
                    max=60,
                    tooltip="Frames per second, for the 512, 1024 and interpolation models: a smaller number moves more. 0: as "
                    "recommended, which is 24, 10 and 5.",
                ),
                io.Int.Input(
                    "frame_stride",
                    default=RECOMMENDED,
                    min=RECOMMENDED,
                    max=60,
                    tooltip="Frame stride, for the 256 model alone: a larger number moves more, from 1 to 6. 0: as recommended, 3.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="For the interpolation model: the clip ends with its first image. Drop the last frame before saving.",
                ),
                inputs.resize("How the image meets the size."),
                io.Combo.Input(
                    "image_tokens",
                    options=list(RULES),
                    default=RESAMPLED,
                    tooltip="Which image tokens a frame sees, if there are not 16 frames. resampled: those of 16 spread over the clip. "
                    "first: those of the first frames. reference: all, as in the authors' code.",
                    advanced=True,
                ),
                io.Image.Input("last_image", optional=True, tooltip="For the interpolation model: the image that the clip ends with."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the image attached."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with a grey image attached."),
                io.Latent.Output(
                    display_name="latent", tooltip="The image in every frame, or a fade between two. Sampling starts from noise alone."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Which variant animates the image, the motion number that it reads, and what may go wrong. The node shows it "
                    "too.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        clip_vision,
        vae,
        image,
        width,
        height,
        frames,
        fps,
        frame_stride,
        loop,
        resize,
        image_tokens,
        last_image=None,
    ) -> io.NodeOutput:
        pictures, size = Pictures(image, last_image, loop), ClipSize(width, height, frames, resize)
        motion, encoders = Motion(fps, frame_stride), (clip_vision, vae)
        positive, negative, samples = condition_clip(model, positive, negative, encoders, pictures, size, motion, image_tokens)
        report = describe(model, pictures, motion)
        show_on_node(report, cls.hidden)
        return io.NodeOutput(positive, negative, {"samples": samples}, report)


NODES = [CinemoDynamiCrafterConditioning]
