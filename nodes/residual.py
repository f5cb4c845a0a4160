"""Nodes that take a clip apart into its first frame and its motion, and put them together again."""

from comfy_api.latest import io

from ..cinemo_core.comfyui.residual import merge, split
from ..cinemo_core.motion.residual import MAX_GAIN
from . import inputs


def clip_template():
    """A LATENT or an IMAGE: what comes in decides what comes out."""
    return io.MatchType.Template("clip", [io.Latent, io.Image])


class CinemoResidualSplit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        clip = clip_template()
        return io.Schema(
            node_id="CinemoResidualSplit",
            display_name="Cinemo Residual Split",
            category=inputs.CATEGORY,
            description="Takes a clip apart into its first frame and its motion: each frame minus the first. "
            "For clips of any model, and for images.",
            search_aliases=["motion residual", "split latent", "extract motion", "motion transfer", "first frame", "cinemo"],
            inputs=[
                io.MatchType.Input("clip", template=clip, tooltip="A clip of any model, as LATENT, or the frames of a video, as IMAGE.")
            ],
            outputs=[
                io.MatchType.Output(template=clip, display_name="first_frame", tooltip="Frame 0 alone."),
                io.MatchType.Output(
                    template=clip, display_name="residual", tooltip="The motion: each frame minus the first, so frame 0 is zero."
                ),
            ],
        )

    @classmethod
    def execute(cls, clip) -> io.NodeOutput:
        return io.NodeOutput(*split(clip))


class CinemoResidualMerge(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        clip = clip_template()
        return io.Schema(
            node_id="CinemoResidualMerge",
            display_name="Cinemo Residual Merge",
            category=inputs.CATEGORY,
            description="Adds a motion to a first frame: amplified, damped, or moved onto another image of the same size. "
            "For clips of any model, and for images.",
            search_aliases=["motion residual", "merge latent", "motion gain", "amplify motion", "motion transfer", "cinemo"],
            inputs=[
                io.MatchType.Input(
                    "first_frame",
                    template=clip,
                    tooltip="The image to move, of the size of the motion; of a clip or a batch the first frame is used.",
                ),
                io.MatchType.Input(
                    "residual", template=clip, tooltip="The motion: from Cinemo Residual Split or Cinemo Residual KSampler."
                ),
                io.Float.Input(
                    "gain",
                    default=1.0,
                    min=0.0,
                    max=MAX_GAIN,
                    step=0.05,
                    tooltip="Strength of the motion. 1: as it is. 0: a still clip. Above 1: amplified; far above, the picture breaks up.",
                ),
            ],
            outputs=[io.MatchType.Output(template=clip, display_name="clip", tooltip="The frames; frame 0 is the first frame, unchanged.")],
        )

    @classmethod
    def execute(cls, first_frame, residual, gain) -> io.NodeOutput:
        return io.NodeOutput(merge(first_frame, residual, gain))


NODES = [CinemoResidualSplit, CinemoResidualMerge]
