"""Clips of any length in ComfyUI's context windows, which never exceed the table of positions."""

from dataclasses import dataclass

import comfy.context_windows
from comfy.context_windows import ContextFuseMethods, ContextSchedule, IndexListContextHandler

from ...models.animate_anyone.windows import check_windows, looped_windows, open_windows
from ..description import check_model
from ..preview import show_in_any_sampler
from .model import AnimateAnyoneSupported

OPEN, LOOP = "open", "loop"
MODES = (OPEN, LOOP)


@dataclass(frozen=True)
class Windows:
    """length and overlap in frames; loop: the re-implementation's, which tie the end of a clip to its beginning; stride: of those alone."""

    length: int = 24
    overlap: int = 4
    loop: bool = False
    stride: int = 1


def set_windows(model, windows: Windows):
    """A copy of the MODEL that samples long clips in windows; a frame's prediction is the mean over its windows.

    A step takes long there, so the progress bar moves within it, in any sampler.
    Raises InputError for windows that cannot be made or are longer than the model's table of positions.
    """
    check_model(model, AnimateAnyoneSupported)
    check_windows(windows.length, windows.overlap, windows.stride, model.model.diffusion_model.config.positions)

    def frames_of(frames: int, handler: IndexListContextHandler, model_options: dict) -> list[list[int]]:
        if windows.loop:
            return looped_windows(frames, windows.length, windows.overlap, windows.stride)
        return open_windows(frames, windows.length, windows.overlap)

    model = show_in_any_sampler(model)
    model.model_options["context_handler"] = IndexListContextHandler(
        context_schedule=ContextSchedule("animate_anyone", frames_of),
        fuse_method=comfy.context_windows.get_matching_fuse_method(ContextFuseMethods.FLAT),
        context_length=windows.length,
        context_overlap=windows.overlap,
        context_stride=windows.stride,
        closed_loop=windows.loop,
        dim=0,
        causal_window_fix=False,  # a window's positions begin at its own first frame
    )
    comfy.context_windows.create_prepare_sampling_wrapper(model)
    return model
