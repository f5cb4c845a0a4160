"""Inputs that several nodes have, and the words that explain them."""

from comfy_api.latest import io

from ..cinemo_core.comfyui.loading import WEIGHT_DTYPES
from ..cinemo_core.resize import RESIZE_MODES

CATEGORY = "Cinemo"  # in the menu of nodes; a family other than Cinemo has a folder of its own in it
MAX_SEED = 0xFFFFFFFFFFFFFFFF
WEIGHT_DTYPE = (
    "Number format of the UNet's weights in memory. default: what ComfyUI finds best for this device. "
    "fp16 halves the memory of fp32; fp8 halves it again, with some loss."
)


def seed(tooltip: str):
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def width(tooltip: str, default: int = 512):
    return io.Int.Input("width", default=default, min=16, max=8192, step=8, tooltip=tooltip)


def height(tooltip: str, default: int = 320):
    return io.Int.Input("height", default=default, min=16, max=8192, step=8, tooltip=tooltip)


def frames(tooltip: str, default: int = 16):
    return io.Int.Input("frames", default=default, min=2, max=1024, tooltip=tooltip)


def cfg(default: float, tooltip: str):
    return io.Float.Input("cfg", default=default, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def resize(what: str):
    """How pictures meet the size; `what` begins the tooltip."""
    modes = "cover: fill and crop the centre. reference: the authors' own crop. stretch: ignore the aspect. pad: fit inside, black bars."
    return io.Combo.Input("resize", options=list(RESIZE_MODES), default="cover", tooltip=f"{what} {modes}", advanced=True)


def cutoff(tooltip: str, advanced: bool = False):
    return io.Float.Input("cutoff", default=0.23, min=0.0, max=1.0, step=0.01, tooltip=tooltip, advanced=advanced or None)


def noise_level(tooltip: str, advanced: bool = False):
    return io.Int.Input("noise_level", default=975, min=0, max=999, tooltip=tooltip, advanced=advanced or None)


def weight_dtype():
    return io.Combo.Input("weight_dtype", options=list(WEIGHT_DTYPES), default="default", tooltip=WEIGHT_DTYPE, advanced=True)
