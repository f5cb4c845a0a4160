"""The node that carries the detail of a picture through a clip."""

from comfy_api.latest import io

from ..cinemo_core.comfyui.detail import detail_clip
from ..cinemo_core.detail.fit import FITS
from . import inputs


class CinemoDetailTransfer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDetailTransfer",
            display_name="Cinemo Detail Transfer",
            category=inputs.CATEGORY,
            description="Makes a clip as large and as sharp as the picture it was made from: the picture's detail follows the motion. "
            "For clips of any video model.",
            search_aliases=["detail transfer", "upscale video", "sharpen video", "optical flow", "4k", "restore detail", "cinemo"],
            inputs=[
                io.Image.Input("images", tooltip="All frames of a clip in order, at least 2; frame 0 shows the picture."),
                io.Image.Input("picture", tooltip="The original of the picture that was animated, of any size; of a batch the first."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the trusted detail is added. 1: all, and frame 0 is the picture. 0: frames are only enlarged.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=16384,
                    step=2,
                    tooltip="Width of the result; the height follows the clip. 0: the picture's own pixels, cut to the clip's aspect.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="cover",
                    tooltip="How the picture met the size of the clip. cover: filled it, the rest cut off. stretch: aspect ignored. "
                    "pad: fitted inside, black bars.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The frames at the size of the picture, for Create Video or Save Image."),
                io.Mask.Output(display_name="trust", tooltip="Where detail was added, in each frame: white all of it, black none."),
            ],
        )

    @classmethod
    def execute(cls, images, picture, strength, width, fit) -> io.NodeOutput:
        detailed = detail_clip(images, picture, strength, width, fit)
        return io.NodeOutput(detailed.images, detailed.trust)


NODES = [CinemoDetailTransfer]
