"""Previews while a clip is sampled: ComfyUI's own picture of one moving frame, and all frames at once for the frontend extension.

ComfyUI's preview channel carries one still picture per step. So the frames of the clip are sent as a separate message
to the browser that runs the prompt; `web/animated_preview.js` cuts them apart and plays them. Nothing of ComfyUI is changed,
and who does not know the message sees the plain preview.
"""

import base64
import io
import math
from contextlib import contextmanager

import comfy.latent_formats
import comfy.patcher_extension
import comfy_execution.progress
import comfy_execution.utils
import latent_preview
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy_api import feature_flags

from ..models.sd_unet.blocks import ResBlock
from .progress import StepProgress

CLIP_PREVIEW = "cinemo.clip_preview"  # the message's name, as web/animated_preview.js knows it
SHOWN = "cinemo_shown"  # name of a MODEL's wrapper
JPEG_QUALITY = 90


def moving_frame(x0):
    """The last frame of a clip: what a preview of one picture shows, since the first one is the image."""
    return x0[-1:]


class ClipLatent(comfy.latent_formats.SD15):
    """Stable Diffusion's latents as the frames of a clip."""

    latent_rgb_factors_reshape = staticmethod(moving_frame)


@contextmanager
def moving_preview(model, steps: int, part: tuple[int, int] = (0, 1)):
    """ComfyUI's step callback, shown another frame of the clip at each step, since frame 0 stands still; and all of them in a sheet.

    `part` (i, n): this is run i of n equal ones that share a progress bar. Within the `with` block the bar moves with the network's blocks.
    """
    index, parts = part
    callback = latent_preview.prepare_callback(model, parts * steps)

    def show(step, x0, x, total_steps):
        frame = 1 + step % (x0.shape[0] - 1)
        callback(index * total_steps + step, x0[frame : frame + 1], x, parts * total_steps)

    with followed(model, show, StepProgress(resblocks(model), steps, part), index * steps) as show_all:
        yield show_all


def show_in_any_sampler(model):
    """A copy of the MODEL that moves the bar within a step and sends its frames in a sheet, whatever node samples with it."""
    model = model.clone()
    kind = comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE
    model.remove_wrappers_with_key(kind, SHOWN)
    model.add_wrapper_with_key(kind, SHOWN, _show_run)
    return model


def _show_run(executor, guider, sigmas, extra_args, callback, noise, *args):
    """A wrapper of ComfyUI's around a sampler's run. The first step is taken for an evaluation for each window and conditioning."""
    model, options = guider.model_patcher, extra_args["model_options"]
    handler = options.get("context_handler")
    windows = 1 if handler is None else len(handler.get_context_windows(model.model, noise, options))
    conditionings = sum(len(conditioning) for conditioning in guider.conds.values())
    progress = StepProgress(resblocks(model), len(sigmas) - 1, evaluations=windows * conditionings)
    with followed(model, callback, progress) as show:
        return executor(guider, sigmas, extra_args, show, noise, *args)


@contextmanager
def followed(model, callback, progress: StepProgress, first: int = 0):
    """A sampler's step callback with `progress` and a sheet of all frames; within the `with` block the bar moves with the network's blocks.

    first: number of the run's first step on the bar.
    """
    previewer = linear_previewer(model)

    def show(step, x0, x, total_steps):
        if callback is not None:
            callback(step, x0, x, total_steps)
        progress.on_step(first + step)
        if previewer is not None:
            send_sheet(previewer, x0)

    with progress.watch():
        yield show


def resblocks(model) -> list[ResBlock]:
    return [module for module in model.model.diffusion_model.modules() if isinstance(module, ResBlock)]


def linear_previewer(model) -> latent_preview.LatentPreviewer | None:
    """ComfyUI's cheap previewer if that is the one in use: a decoder such as TAESD would take its time for every frame."""
    if args.preview_method not in (LatentPreviewMethod.Auto, LatentPreviewMethod.Latent2RGB):
        return None
    return latent_preview.get_previewer(model.load_device, model.model.latent_format)


def send_sheet(previewer: latent_preview.LatentPreviewer, x0: torch.Tensor) -> None:
    """Send all frames of x0 [f, 4, h, w] to the browser that runs the prompt.

    Scripts do not get it: they have not declared that they read previews with metadata, as its frontend does.
    """
    context = comfy_execution.utils.get_executing_context()
    if context is None:
        return
    from server import PromptServer  # as late as this: without a server it would start importing one

    server = PromptServer.instance
    if not feature_flags.supports_feature(server.sockets_metadata, server.client_id, "supports_preview_metadata"):
        return
    sheet, columns = frame_sheet(x0)
    picture = io.BytesIO()
    previewer.decode_latent_to_preview(sheet).save(picture, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    graph = comfy_execution.progress.get_progress_state().dynprompt
    message = {
        "node_id": context.node_id,
        "display_node_id": graph.get_display_node_id(context.node_id),
        "parent_node_id": graph.get_parent_node_id(context.node_id),
        "real_node_id": graph.get_real_node_id(context.node_id),
        "prompt_id": context.prompt_id,
        "frames": x0.shape[0],
        "columns": columns,
        "image": "data:image/jpeg;base64," + base64.b64encode(picture.getvalue()).decode(),
    }
    server.send_sync(CLIP_PREVIEW, message, server.client_id)


def frame_sheet(x0: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The frames of x0 [f, c, h, w] side by side in one latent [1, c, rows * h, columns * w], row by row, and the columns.

    Places without a frame are zero.
    """
    frames, channels, height, width = x0.shape
    columns = math.ceil(math.sqrt(frames))
    rows = math.ceil(frames / columns)
    tiles = x0.new_zeros(rows * columns, channels, height, width)
    tiles[:frames] = x0
    sheet = tiles.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)  # c rows h columns w
    return sheet.reshape(1, channels, rows * height, columns * width), columns
