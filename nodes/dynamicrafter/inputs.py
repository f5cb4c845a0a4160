"""Inputs that several of DynamiCrafter's nodes have."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.dynamicrafter.guidance import SAME
from ...cinemo_core.models.diffusion import TIMESTEPS
from .. import inputs

CATEGORY = f"{inputs.CATEGORY}/DynamiCrafter"
STEPS = "Number of denoising steps. The authors use 50; fewer is faster and rougher."
DENOISE = "1: start from noise alone. Below 1: keep that much less of the noise, to change a real clip (video to video)."


def model(tooltip: str = "A DynamiCrafter model, with any patch or LoRA."):
    return io.Model.Input("model", tooltip=tooltip)


def conditioning(name: str):
    return io.Conditioning.Input(name, tooltip="From Cinemo DynamiCrafter Conditioning.")


def steps():
    return io.Int.Input("steps", default=50, min=1, max=TIMESTEPS, tooltip=STEPS)


def denoise():
    return io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE)


def cfg():
    return inputs.cfg(7.5, "How strictly the clip follows prompt and image. The authors use 7.5; 1 uses no negative and is twice as fast.")


def image_cfg():
    return io.Float.Input(
        "image_cfg",
        default=SAME,
        min=SAME,
        max=100.0,
        step=0.1,
        round=0.01,
        tooltip="How strictly the clip follows the image alone; cfg is then for the prompt alone. -1: cfg is for both. Another value takes "
        "half as long again.",
        advanced=True,
    )


def guidance_rescale(advanced: bool = True):
    return io.Float.Input(
        "guidance_rescale",
        default=SAME,
        min=SAME,
        max=1.0,
        step=0.01,
        tooltip="How far the contrast that cfg adds is taken back, over the whole clip. -1: the authors' choice, which is 0.7, and 0 "
        "for the 256 model.",
        advanced=advanced or None,
    )


def eta():
    return io.Float.Input(
        "eta",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="How much of the noise is fresh in each step of the authors' sampler. The authors use 1; 0 adds none.",
    )


def reference_brightness():
    return io.Boolean.Input(
        "reference_brightness",
        default=False,
        tooltip="The authors' sampler ends a little pale, more so with few steps: by 3 % at 50 and 17 % at 10 with the 1024 model. "
        "On: the same here.",
        advanced=True,
    )
