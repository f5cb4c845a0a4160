"""What changes a MODEL: windows for long clips, and a LoRA for its ReferenceNet."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.animate_anyone.choices import lora_choices, read_lora
from ...cinemo_core.comfyui.animate_anyone.lora import patch_reference
from ...cinemo_core.comfyui.animate_anyone.windows import LOOP, MODES, OPEN, Windows, set_windows
from . import inputs as own


class CinemoAnimateAnyoneWindows(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneWindows",
            display_name="Cinemo Animate Anyone Windows",
            category=own.CATEGORY,
            description="Samples clips of any length in windows that overlap, each no longer than the model's motion modules allow.",
            search_aliases=["context windows", "context options", "long video", "sliding window", "loop", "animate anyone"],
            inputs=[
                own.model(),
                io.Int.Input(
                    "window",
                    default=24,
                    min=1,
                    max=1024,
                    tooltip="Frames of a window: 24, as trained. MusePose takes 48. The motion modules allow 32, those of MusePose 128.",
                ),
                io.Int.Input(
                    "overlap",
                    default=4,
                    min=0,
                    max=1023,
                    tooltip="Frames that two windows share, where their predictions are averaged. More is smoother and slower.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=OPEN,
                    tooltip="Where the clip ends. open: at its last frame. loop: the last window takes in the first frames and ties the "
                    "end to them, as the published code does.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with windows, for any sampler.")],
        )

    @classmethod
    def execute(cls, model, window, overlap, mode) -> io.NodeOutput:
        return io.NodeOutput(set_windows(model, Windows(window, overlap, loop=mode == LOOP)))


class CinemoAnimateAnyoneReferenceLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoAnimateAnyoneReferenceLoRA",
            display_name="Cinemo Animate Anyone Reference LoRA",
            category=own.CATEGORY,
            description="Applies a LoRA of Stable Diffusion 1.x to ReferenceNet, which Load LoRA does not reach. It goes before the "
            "conditioning.",
            search_aliases=["lora", "load lora", "referencenet", "reference unet", "animate anyone"],
            inputs=[
                own.model("An Animate Anyone model; a LoRA that its denoising UNet has stays."),
                io.Combo.Input(
                    "lora_name",
                    options=lora_choices(),
                    tooltip="A file in models/loras for the UNet of Stable Diffusion 1.x. Text encoder layers in it are left out.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.01,
                    tooltip="How much of the LoRA is added; below 0 its opposite.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with the LoRA in its ReferenceNet, for the conditioning and the sampler.")],
        )

    @classmethod
    def execute(cls, model, lora_name, strength) -> io.NodeOutput:
        return io.NodeOutput(patch_reference(model, read_lora(lora_name), strength, f"The LoRA {lora_name}"))


NODES = [CinemoAnimateAnyoneWindows, CinemoAnimateAnyoneReferenceLoRA]
