"""Carrying a picture's detail through a clip, on ComfyUI's device, with its progress bar and its cancel button."""

import comfy.model_management
import comfy.utils
import torch

from ..detail.fit import check_clip, fit_picture, result_size
from ..detail.transfer import Detailed, transfer_detail, working_size
from ..errors import InputError

FLOAT = 4  # bytes
CHANNELS = 4  # of the result: three colours and the mask
# Values in float32 held at once for each pixel of the result, and of the frames that flow is found on: an estimate from the code.
# A CPU process grew by 1.1 GB beyond the result for 3840x2160 out of 512x288, where this says 1.4.
AT_RESULT, AT_FLOW = 32, 160


def detail_clip(images: torch.Tensor, picture: torch.Tensor, strength: float, width: int, fit: str) -> Detailed:
    """A clip [f, h, w, 3 or 4] with the detail of its picture [b, h, w, 3 or 4], at the picture's size; see `transfer_detail`.

    Raises InputError, before it begins, for what is no clip or not its picture, and where the memory does not hold the result.
    """
    check_clip(images)
    if not 0 <= strength <= 1:
        raise InputError(f"The strength is {strength}; choose 0 (only enlarge) to 1 (all the detail that is trusted).")
    frames, (columns, rows) = images.shape[0], result_size(picture, images, width, fit)
    check_memory(frames, columns, rows)
    fitted = fit_picture(picture, images, width, fit)
    device = working_device()
    comfy.model_management.free_memory(working_memory(images.shape[1], images.shape[2], rows, columns), device)
    bar = comfy.utils.ProgressBar(frames)

    def finished(done: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done)

    interrupt = comfy.model_management.throw_exception_if_processing_interrupted
    return transfer_detail(images[..., :3], fitted, strength, device, interrupt, finished)


def working_device() -> torch.device:
    """ComfyUI's device, or the CPU in place of Metal, which has had no bicubic grid_sample in all the PyTorch versions in use."""
    device = comfy.model_management.get_torch_device()
    return torch.device("cpu") if comfy.model_management.is_device_mps(device) else device


def working_memory(height: int, width: int, rows: int, columns: int) -> int:
    """Bytes that the work takes on its device, for a clip of width x height and a result of columns x rows."""
    flow_rows, flow_columns = working_size(height, width, rows, columns)
    return FLOAT * (AT_RESULT * rows * columns + AT_FLOW * flow_rows * flow_columns)


def check_memory(frames: int, width: int, height: int) -> None:
    """Raise InputError where the result alone does not fit into the free memory."""
    need = FLOAT * CHANNELS * frames * width * height
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    if need > free:
        raise InputError(
            f"{frames} frames of {width}x{height} and their mask take {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: set a "
            "smaller width, or give fewer frames at a time."
        )
