"""The loaders: a published set as a folder or one file, and files chosen one by one."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.animate_anyone import choices
from ...cinemo_core.comfyui.animate_anyone.loading import Parts, load_checkpoint, load_parts
from .. import inputs
from . import inputs as own

MODEL = "The Animate Anyone model with its ReferenceNet and Pose Guider, for any sampler."


class CinemoAnimateAnyoneLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneLoader",
            display_name="Cinemo Animate Anyone Loader",
            category=own.CATEGORY,
            description="Loads a set of Animate Anyone files, such as Moore-AnimateAnyone or MusePose, from its folder or from one file "
            "made of it.",
            search_aliases=["load animate anyone", "animateanyone", "musepose", "moore", "character animation", "pose", "dance"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=choices.checkpoint_choices(),
                    default=choices.checkpoint_default(),
                    tooltip="A folder in models/animate_anyone with the four files of a set, or a file made of one in "
                    "models/diffusion_models or models/checkpoints. They are recognised by their tensors.",
                ),
                inputs.weight_dtype(),
                own.betas(),
            ],
            outputs=[io.Model.Output(tooltip=MODEL)],
        )

    @classmethod
    def validate_inputs(cls, checkpoint=None):
        return checkpoint is None or choices.checkpoint_problem(checkpoint) or True  # None: linked, and not known yet

    @classmethod
    def execute(cls, checkpoint, weight_dtype, betas) -> io.NodeOutput:
        return io.NodeOutput(load_checkpoint(checkpoint, weight_dtype, betas))


class CinemoAnimateAnyonePartsLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def part(name: str, tooltip: str, fitting: str | None = None, optional: bool = False):
            """One file of a set. Without the file there is the name that publishers give it, so that the error names it."""
            fitting = fitting or name
            nothing = [choices.NONE] if optional else []
            default = choices.NONE if fitting != name else choices.part_default(fitting, nothing[0] if nothing else f"{fitting}.pth")
            return io.Combo.Input(name, options=[*nothing, *choices.part_choices(fitting)], default=default, tooltip=tooltip)

        return io.Schema(
            node_id="CinemoAnimateAnyonePartsLoader",
            display_name="Cinemo Animate Anyone Parts Loader",
            category=own.CATEGORY,
            description="Loads the files of an Animate Anyone set one by one, from models/diffusion_models and models/controlnet.",
            search_aliases=["load animate anyone", "denoising unet", "reference unet", "motion module", "pose guider", "unet3d"],
            inputs=[
                part("denoising_unet", "The UNet that removes the noise: Stable Diffusion 1.5's, or one with motion modules in it."),
                part("motion_module", "The layers over time. none: for a denoising UNet that holds them.", optional=True),
                part("reference_unet", "ReferenceNet, the UNet that sees the reference picture."),
                part("pose_guider", "The network that reads the pictures of poses."),
                part(
                    "second_pose_guider",
                    "For the face re-enactment set: its second Pose Guider. none: for the other sets.",
                    fitting="pose_guider",
                    optional=True,
                ),
                inputs.weight_dtype(),
                own.betas(),
            ],
            outputs=[io.Model.Output(tooltip=MODEL)],
        )

    @classmethod
    def validate_inputs(cls, denoising_unet=None, motion_module=None, reference_unet=None, pose_guider=None, second_pose_guider=None):
        given = {
            "denoising_unet": [denoising_unet],
            "motion_module": [motion_module],
            "reference_unet": [reference_unet],
            "pose_guider": [pose_guider, second_pose_guider],
        }
        names = [(part, name) for part, listed in given.items() for name in listed if name not in (None, choices.NONE)]
        return next(filter(None, (choices.part_problem(part, name) for part, name in names)), True)

    @classmethod
    def execute(cls, denoising_unet, motion_module, reference_unet, pose_guider, second_pose_guider, weight_dtype, betas) -> io.NodeOutput:
        parts = Parts(denoising_unet, motion_module, reference_unet, pose_guider, second_pose_guider)
        return io.NodeOutput(load_parts(parts, weight_dtype, betas))


NODES = [CinemoAnimateAnyoneLoader, CinemoAnimateAnyonePartsLoader]
