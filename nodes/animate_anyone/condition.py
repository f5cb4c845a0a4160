"""The conditioning node: whose picture moves, and in which poses."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.animate_anyone.encode import FigureSize, condition_figure
from ...cinemo_core.comfyui.animate_anyone.encoder import check_encoder_file
from ...cinemo_core.comfyui.animate_anyone.pictures import RESIZES, STRETCH
from .. import inputs
from . import inputs as own


class CinemoAnimateAnyoneConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneConditioning",
            display_name="Cinemo Animate Anyone Conditioning",
            category=own.CATEGORY,
            description="Sets the character to animate and the poses that it takes, one for each frame of the clip.",
            search_aliases=["animate anyone", "reference", "referencenet", "pose", "openpose", "dwpose", "character animation", "dance"],
            inputs=[
                own.model("An Animate Anyone model. Its ReferenceNet looks at the picture here, once."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="The image encoder: CLIP ViT-L/14 with its visual projection, from Load CLIP Vision."
                ),
                io.Vae.Input("vae", tooltip="A VAE of Stable Diffusion 1.x, such as sd-vae-ft-mse."),
                io.Image.Input(
                    "image",
                    tooltip="The picture of the character, whole figure if the poses are. Of a batch the first is used; alpha is dropped.",
                ),
                io.Image.Input(
                    "poses",
                    tooltip="Pictures of poses as DWPose draws them on black, one for each frame. Their number is the clip's length.",
                ),
                inputs.width("Width of the clip in pixels. The published sets were trained at 512 and 768."),
                inputs.height("Height of the clip in pixels.", default=768),
                io.Combo.Input(
                    "resize",
                    options=list(RESIZES),
                    default=STRETCH,
                    tooltip="How the picture meets the size. stretch: ignore the aspect, as the published code does. cover: fill and "
                    "crop the centre. pad: fit inside, black bars. Poses are stretched.",
                    advanced=True,
                ),
                io.Image.Input(
                    "second_poses",
                    optional=True,
                    tooltip="For the face re-enactment set, which has two Pose Guiders: as many pictures for the second one.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The character and the poses."),
                io.Conditioning.Output(display_name="negative", tooltip="The poses without the character, which guidance leads away from."),
                io.Latent.Output(display_name="latent", tooltip="An empty clip of this size, a frame for each pose, for the sampler."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(cls, model, clip_vision, vae, image, poses, width, height, resize, second_poses=None) -> io.NodeOutput:
        check_encoder_file(cls.hidden)
        clips, size = [poses] if second_poses is None else [poses, second_poses], FigureSize(width, height, resize)
        positive, negative, samples = condition_figure(model, clip_vision, vae, image, clips, size)
        return io.NodeOutput(positive, negative, {"samples": samples})


NODES = [CinemoAnimateAnyoneConditioning]
