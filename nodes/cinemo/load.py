"""Loader nodes: a UNet alone, or a whole published checkpoint folder."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo import choices
from ...cinemo_core.comfyui.cinemo.bundle import DECODERS, load_bundle
from ...cinemo_core.comfyui.loading import load_unet
from ...cinemo_core.models.cinemo.family import CINEMO
from .. import inputs


class CinemoModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoModelLoader",
            display_name="Cinemo Model Loader",
            category=inputs.CATEGORY,
            description="Loads a Cinemo UNet: a single file from models/diffusion_models, or the UNet of a folder in models/diffusers.",
            search_aliases=["load cinemo", "cinemo unet", "image to video model", "i2v model", "animate", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=choices.unet_choices(),
                    default=choices.unet_default(),
                    tooltip="A file in models/diffusion_models or a folder in models/diffusers, recognised by its tensors. cinemo-nano, "
                    "a small one, comes with the pack; python -m cinemo_core.download fetches the published one.",
                ),
                inputs.weight_dtype(),
            ],
            outputs=[io.Model.Output(tooltip="The Cinemo model, for any sampler. Its conditioning comes from Cinemo Motion Conditioning.")],
        )

    @classmethod
    def validate_inputs(cls, model_name=None):
        return model_name is None or choices.unet_problem(model_name) or True  # None: linked, and not known yet

    @classmethod
    def execute(cls, model_name, weight_dtype) -> io.NodeOutput:
        return io.NodeOutput(load_unet(choices.resolve_unet(model_name), weight_dtype, CINEMO))


class CinemoBundleLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoBundleLoader",
            display_name="Cinemo Bundle Loader",
            category=inputs.CATEGORY,
            description="Loads UNet, text encoder and VAE from one checkpoint folder in models/diffusers, as published (maxin-cn/Cinemo).",
            search_aliases=["load cinemo", "cinemo checkpoint", "diffusers", "image to video", "i2v", "animate", "pipeline"],
            inputs=[
                io.Combo.Input(
                    "bundle",
                    options=choices.bundle_choices(),
                    default=choices.bundle_default(),
                    tooltip="A folder in models/diffusers with unet/, text_encoder/ and vae_temporal_decoder/ or vae/. cinemo-nano, "
                    "a small one, comes with the pack; python -m cinemo_core.download fetches the published one.",
                ),
                inputs.weight_dtype(),
                io.Combo.Input(
                    "decoder",
                    options=list(DECODERS),
                    default="auto",
                    tooltip="Which VAE to load. temporal: decodes frames together, smoother. image: frame by frame. auto: "
                    "temporal if the folder has it.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The Cinemo model, for any sampler."),
                io.Clip.Output(tooltip="The text encoder, for CLIP Text Encode."),
                io.Vae.Output(tooltip="The VAE, for Cinemo Motion Conditioning and Cinemo Video Decode."),
            ],
        )

    @classmethod
    def validate_inputs(cls, bundle=None):
        return bundle is None or choices.bundle_problem(bundle) or True  # None: linked, and not known yet

    @classmethod
    def execute(cls, bundle, weight_dtype, decoder) -> io.NodeOutput:
        return io.NodeOutput(*load_bundle(bundle, weight_dtype, decoder))


NODES = [CinemoModelLoader, CinemoBundleLoader]
