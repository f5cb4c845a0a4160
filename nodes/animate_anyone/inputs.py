"""Inputs that several of Animate Anyone's nodes have."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.animate_anyone.loading import AUTO
from ...cinemo_core.models.animate_anyone.schedule import BETAS
from .. import inputs

CATEGORY = f"{inputs.CATEGORY}/Animate Anyone"


def model(tooltip: str = "An Animate Anyone model, with any patch or LoRA."):
    return io.Model.Input("model", tooltip=tooltip)


def betas():
    return io.Combo.Input(
        "betas",
        options=[AUTO, *BETAS],
        default=AUTO,
        tooltip="The noise schedule. auto: scaled_linear for MusePose, else linear, as their publishers sample. Try scaled_linear if a "
        "plain background is noisy.",
        advanced=True,
    )
