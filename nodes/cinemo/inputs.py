"""Inputs that several of Cinemo's nodes have."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo.sampling import REFERENCE_SCHEDULER, sampler_names, scheduler_names
from ...cinemo_core.models.cinemo.schedule import NUM_TRAIN_TIMESTEPS
from ...cinemo_core.motion.buckets import BUCKETS

CFG = "How strictly the clip follows the prompt. The authors use 7.5; at 1 the negative prompt is not used and sampling is twice as fast."


def model(tooltip: str = "A Cinemo model, with any patch or LoRA."):
    return io.Model.Input("model", tooltip=tooltip)


def conditioning(name: str):
    return io.Conditioning.Input(name, tooltip="From Cinemo Motion Conditioning.")


def steps(tooltip: str):
    return io.Int.Input("steps", default=50, min=1, max=NUM_TRAIN_TIMESTEPS, tooltip=tooltip)


def sampler_name():
    return io.Combo.Input("sampler_name", options=sampler_names(), default="ddim", tooltip="How noise is removed. The authors use ddim.")


def scheduler():
    tooltip = (
        "Noise levels of the steps. cinemo_ddim: the authors' own. cinemo_fast: for few steps, with dpmpp_2m. The others are ComfyUI's."
    )
    return io.Combo.Input("scheduler", options=scheduler_names(), default=REFERENCE_SCHEDULER, tooltip=tooltip)


def motion_bucket(tooltip: str):
    slider = io.NumberDisplay.slider
    return io.Int.Input("motion_bucket", default=9, min=0, max=BUCKETS - 1, display_mode=slider, tooltip=tooltip)


def motion_id():
    tooltip = "The number that the network itself reads, for settings from elsewhere. -1: taken from motion_bucket, as 99 - bucket."
    return io.Float.Input("motion_id", default=-1.0, min=-1.0, max=999.0, step=1.0, tooltip=tooltip, advanced=True)
