"""The nodes that measure how much a clip moves."""

from comfy_api.latest import io

from ..cinemo_core.comfyui.measure import measure_motion, report_motion
from ..cinemo_core.resize import RESIZE_MODES
from . import inputs


class CinemoMotionBucketFromVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoMotionBucketFromVideo",
            display_name="Cinemo Motion Bucket From Video",
            category=inputs.CATEGORY,
            description="Measures how much a clip moves and gives the motion bucket that asks for as much, for Cinemo Motion Conditioning.",
            search_aliases=["motion bucket", "motion strength", "ssim", "match motion", "measure motion", "cinemo"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of a clip, in order, at least 2. A cut between scenes counts as motion."),
                inputs.width("Width to measure at: that of the clip you will make. The same motion scores differently at other sizes."),
                inputs.height("Height to measure at: that of the clip you will make. Cinemo was trained at 512x320."),
                io.Int.Input(
                    "frame_stride",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Compare frames this far apart. 1 for Cinemo's own clips; Cinemo was trained on every 3rd to 10th frame "
                    "of ordinary video, so 3 to 10 for those.",
                ),
                inputs.resize("How the frames meet the size."),
                io.Image.Input(
                    "made",
                    optional=True,
                    tooltip="A clip that you made, with any model, to compare with the target. Its neighbouring frames are compared.",
                ),
            ],
            outputs=[
                io.Int.Output(display_name="motion_bucket", tooltip="0 (least) to 19 (most), for motion_bucket of the conditioning."),
                io.Float.Output(
                    display_name="ssim", tooltip="The measure itself: mean SSIM of the compared frames, 1 where nothing moves."
                ),
                io.Image.Output(display_name="plot", tooltip="SSIM of each pair of frames over the bucket scale."),
                io.String.Output(
                    display_name="advice",
                    tooltip="What to set: Cinemo's bucket, and with made which way to turn SVD's and DynamiCrafter's motion.",
                ),
            ],
        )

    @classmethod
    def execute(cls, images, width, height, frame_stride, resize, made=None) -> io.NodeOutput:
        bucket, ssim, plot, advice = measure_motion(images, width, height, frame_stride, resize, made)
        return io.NodeOutput(bucket, ssim, plot, advice, ui={"motion_bucket": [bucket]})  # web/motion_scale.js marks it


class CinemoMotionReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoMotionReport",
            display_name="Cinemo Motion Report",
            category=inputs.CATEGORY,
            description="Charts how a clip moves and how well it keeps to its first image, with the numbers as text.",
            search_aliases=["motion report", "video quality", "ssim", "drift", "compare frames", "measure motion", "cinemo"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of a clip, in order, at least 2. They are measured at their own size."),
                io.Combo.Input(
                    "resize",
                    options=list(RESIZE_MODES),
                    default="cover",
                    tooltip="How first_image meets the size of the clip; set what Cinemo Motion Conditioning had.",
                    advanced=True,
                ),
                io.Image.Input(
                    "first_image",
                    optional=True,
                    tooltip="The image that was animated, of any size, to compare with; of a batch the first. Without it frame 0.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="charts",
                    tooltip="Distance to the first image, SSIM of each pair of frames, residual energy, drift of the mean colour.",
                ),
                io.String.Output(display_name="numbers", tooltip="The same numbers for every frame, as JSON."),
            ],
        )

    @classmethod
    def execute(cls, images, resize, first_image=None) -> io.NodeOutput:
        return io.NodeOutput(*report_motion(images, first_image, resize))


NODES = [CinemoMotionBucketFromVideo, CinemoMotionReport]
