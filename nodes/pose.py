"""The nodes that make pictures of poses: from key points, from other pictures of poses, from a motion."""

from comfy_api.latest import io

from ..cinemo_core.comfyui.pose import Page, align_keypoints, align_pictures, draw_motion
from ..cinemo_core.pose.figure import FITS
from ..cinemo_core.pose.motions import MOTIONS
from . import inputs

CATEGORY = f"{inputs.CATEGORY}/Pose"
PoseKeypoint = io.Custom("POSE_KEYPOINT")
WIDTH, HEIGHT = 512, 768  # as Animate Anyone was trained
ALIASES = ["pose", "openpose", "dwpose", "animate anyone", "cinemo"]


def resize():
    return io.Combo.Input(
        "resize",
        options=list(FITS),
        default="stretch",
        tooltip="How the reference picture meets width and height; set what the conditioning has. stretch: ignore the aspect. "
        "cover: fill and crop the centre. pad: fit inside, black bars.",
        advanced=True,
    )


def hands():
    return io.Boolean.Input("hands", default=True, tooltip="Draw the fingers, where the key points have them.")


def poses():
    return io.Image.Output(tooltip="Pictures of poses on black, drawn as DWPose draws them, for the conditioning.")


def keypoints():
    return PoseKeypoint.Output(display_name="pose_keypoint", tooltip="The same poses as key points, one person in each frame.")


def report():
    return io.String.Output(
        display_name="report", tooltip="Sizes, and how many frames did not show the person; show it with Preview as Text."
    )


class CinemoPoseAlignment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoPoseAlignment",
            display_name="Cinemo Pose Alignment",
            category=CATEGORY,
            description="Fits the poses of a clip to the person in the reference picture, limb by limb, and draws them, so that the motion "
            "changes and the body does not.",
            search_aliases=[*ALIASES, "pose align", "retarget", "rescale skeleton", "draw pose"],
            inputs=[
                PoseKeypoint.Input(
                    "pose_keypoint", tooltip="Key points of the driving clip, from a DWPose or OpenPose node; one person is followed."
                ),
                inputs.width("Width of the pictures: that of the clip you will make.", WIDTH),
                inputs.height("Height of the pictures: that of the clip you will make.", HEIGHT),
                io.Boolean.Input(
                    "limbs",
                    default=True,
                    tooltip="Give every limb the reference's length. Off: only size and place, as for one that sits or is seen from "
                    "the side.",
                ),
                hands(),
                io.Boolean.Input("face", default=True, tooltip="Draw the face's dots. Off leaves the expression to the model."),
                resize(),
                PoseKeypoint.Input(
                    "reference_keypoint",
                    optional=True,
                    tooltip="Key points of the reference picture, from the same node. Without them the poses are only drawn.",
                ),
            ],
            outputs=[poses(), keypoints(), report()],
        )

    @classmethod
    def execute(cls, pose_keypoint, width, height, limbs, hands, face, resize, reference_keypoint=None) -> io.NodeOutput:
        page = Page(width, height, resize, hands, face)
        return io.NodeOutput(*align_keypoints(pose_keypoint, reference_keypoint, page, limbs))


class CinemoPoseAlignmentFromPictures(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoPoseAlignmentFromPictures",
            display_name="Cinemo Pose Alignment From Pictures",
            category=CATEGORY,
            description="Moves and scales pictures of poses so that the figure stands where the reference stands, as tall. For pose videos "
            "without key points.",
            search_aliases=[*ALIASES, "pose align", "pose video", "move pose", "rescale skeleton"],
            inputs=[
                io.Image.Input("poses", tooltip="Pictures of poses on black, in order: a pose video, or the output of a pose node."),
                io.Image.Input(
                    "reference_pose", tooltip="The pose of the reference picture, drawn in the same way on black; of a batch the first."
                ),
                inputs.width("Width of the pictures: that of the clip you will make.", WIDTH),
                inputs.height("Height of the pictures: that of the clip you will make.", HEIGHT),
                resize(),
            ],
            outputs=[
                io.Image.Output(tooltip="The pictures of poses in their new place, on black, for the conditioning."),
                report(),
            ],
        )

    @classmethod
    def execute(cls, poses, reference_pose, width, height, resize) -> io.NodeOutput:
        return io.NodeOutput(*align_pictures(poses, reference_pose, Page(width, height, resize)))


class CinemoPoseClip(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoPoseClip",
            display_name="Cinemo Pose Clip",
            category=CATEGORY,
            description="Draws the poses of a person who walks, waves, turns, dances or jumps, as a seamless loop: a first motion "
            "without a video.",
            search_aliases=[*ALIASES, "pose clip", "walk cycle", "skeleton animation", "motion", "loop"],
            inputs=[
                io.Combo.Input("motion", options=list(MOTIONS), default=next(iter(MOTIONS)), tooltip="What the person does."),
                inputs.frames("Number of pictures. The one after the last would be the first again.", 24),
                inputs.width("Width of the pictures: that of the clip you will make.", WIDTH),
                inputs.height("Height of the pictures: that of the clip you will make.", HEIGHT),
                io.Int.Input(
                    "cycles", default=1, min=1, max=64, tooltip="How often the motion is repeated in these frames. More is faster."
                ),
                io.Int.Input(
                    "view",
                    default=0,
                    min=-180,
                    max=180,
                    tooltip="Degrees by which the person is turned to the right of the picture. 0: facing the viewer. 90: from the side.",
                ),
                hands(),
                resize(),
                PoseKeypoint.Input(
                    "reference_keypoint",
                    optional=True,
                    tooltip="Key points of the reference picture: the person then stands there, in those proportions.",
                ),
            ],
            outputs=[poses(), keypoints()],
        )

    @classmethod
    def execute(cls, motion, frames, width, height, cycles, view, hands, resize, reference_keypoint=None) -> io.NodeOutput:
        page = Page(width, height, resize, hands)
        return io.NodeOutput(*draw_motion(motion, frames, cycles, view, reference_keypoint, page))


NODES = [CinemoPoseAlignment, CinemoPoseAlignmentFromPictures, CinemoPoseClip]
