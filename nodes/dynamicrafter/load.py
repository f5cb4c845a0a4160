"""The loader of DynamiCrafter checkpoints."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.dynamicrafter import choices
from ...cinemo_core.comfyui.dynamicrafter.loading import load_checkpoint
from ...cinemo_core.models.dynamicrafter.variants import AUTO, VARIANTS
from .. import inputs
from . import inputs as own


class CinemoDynamiCrafterLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoDynamiCrafterLoader",
            display_name="Cinemo DynamiCrafter Loader",
            category=own.CATEGORY,
            description="Loads a DynamiCrafter checkpoint, as published (model.ckpt) or pruned: the model, and text encoder, VAE and image "
            "encoder where the file holds them.",
            search_aliases=["load dynamicrafter", "dynami crafter", "checkpoint", "image to video", "i2v", "interpolation", "animate"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=choices.checkpoint_choices(),
                    default=choices.checkpoint_default(),
                    tooltip="A file in models/checkpoints or models/diffusion_models, recognised by its tensors. The published ones, "
                    "model.ckpt of Doubiiu/DynamiCrafter_512 and others, are for research and non-commercial use.",
                ),
                inputs.weight_dtype(),
                io.Combo.Input(
                    "variant",
                    options=[AUTO, *VARIANTS],
                    default=AUTO,
                    tooltip="Which published model the file is. auto: what the file says, or 512 if it does not say; see the report. "
                    "A pruned 1024 file may not say, so choose 1024 for it.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The DynamiCrafter model, for any sampler."),
                io.Clip.Output(tooltip="The text encoder, for CLIP Text Encode."),
                io.Vae.Output(tooltip="The VAE, for the first frame and for decoding."),
                io.ClipVision.Output(tooltip="The image encoder, through which the model sees the picture."),
                io.String.Output(display_name="report", tooltip="Which variant was taken and why, and what the file does not hold."),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint=None):
        return checkpoint is None or choices.checkpoint_problem(checkpoint) or True  # None: linked, and not known yet

    @classmethod
    def execute(cls, checkpoint, weight_dtype, variant) -> io.NodeOutput:
        loaded = load_checkpoint(choices.resolve_checkpoint(checkpoint), weight_dtype, variant)
        return io.NodeOutput(loaded.model, loaded.clip, loaded.vae, loaded.clip_vision, loaded.report)


NODES = [CinemoDynamiCrafterLoader]
