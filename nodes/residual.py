"""Nodes that take a clip apart into its first frame and its motion, and put them together again."""

from comfy_api.latest import io

from ..cinemo_core.motion.residual import MAX_GAIN, merge_clip, split_clip
from . import inputs


class CinemoResidualSplit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoResidualSplit",
            display_name="Cinemo Residual Split",
            category=inputs.CATEGORY,
            description="Takes a clip apart into its first frame and its motion: each frame's latent minus the first.",
            search_aliases=["motion residual", "split latent", "extract motion", "motion transfer", "first frame", "cinemo"],
            inputs=[io.Latent.Input("clip", tooltip="Frames of a clip: from a sampler, or from VAE Encode on a video.")],
            outputs=[
                io.Latent.Output(display_name="first_frame", tooltip="The latent of frame 0 alone."),
                io.Latent.Output(display_name="residual", tooltip="The motion: each frame minus the first, so frame 0 is zero."),
            ],
        )

    @classmethod
    def execute(cls, clip) -> io.NodeOutput:
        return io.NodeOutput(*({"samples": samples} for samples in split_clip(clip["samples"])))


class CinemoResidualMerge(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoResidualMerge",
            display_name="Cinemo Residual Merge",
            category=inputs.CATEGORY,
            description="Adds a motion to a first frame: amplified, damped, or moved onto another image of the same size.",
            search_aliases=["motion residual", "merge latent", "motion gain", "amplify motion", "motion transfer", "cinemo"],
            inputs=[
                io.Latent.Input("first_frame", tooltip="The image to move, as a latent; of a clip or a batch the first frame is used."),
                io.Latent.Input("residual", tooltip="The motion: from Cinemo Residual Split or Cinemo Residual KSampler."),
                io.Float.Input(
                    "gain",
                    default=1.0,
                    min=0.0,
                    max=MAX_GAIN,
                    step=0.05,
                    tooltip="Strength of the motion. 1: as it is. 0: a still clip. Above 1: amplified; far above, the picture breaks up.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="clip", tooltip="The frames, ready to decode; frame 0 is the first frame, unchanged.")],
        )

    @classmethod
    def execute(cls, first_frame, residual, gain) -> io.NodeOutput:
        return io.NodeOutput({"samples": merge_clip(first_frame["samples"], residual["samples"], gain)})


NODES = [CinemoResidualSplit, CinemoResidualMerge]
