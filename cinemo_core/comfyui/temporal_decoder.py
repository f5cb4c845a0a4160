"""ComfyUI's temporal decoder with less memory on a CPU: what a frame goes through alone, the frames go through one by one.

ComfyUI takes all frames of a chunk at once through each layer, and every layer makes maps of its own of them. The layers over time
need all frames, but all places only for the statistics of a norm, one group of channels at a time. Results differ by rounding
alone. On other devices these blocks are ComfyUI's: a GPU is faster with many frames at once, and ComfyUI recovers where it lacks memory.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from comfy.ldm.modules.diffusionmodules.model import ResnetBlock, Upsample
from comfy.ldm.modules.temporal_ae import AE3DConv, VideoResBlock

TIME_KERNEL = [3, 1, 1]
ROWS = 32  # of all frames that a convolution over time sees at once


class TimeBlock(VideoResBlock):
    """ComfyUI's block of a layer for each frame and one over time."""

    def forward(self, x: torch.Tensor, temb=None, skip_video=False, timesteps: int | None = None) -> torch.Tensor:
        """x: [f, c, h, w] -> [f, c', h, w]"""
        if not one_by_one(x) or skip_video or timesteps not in (None, len(x)):
            return super().forward(x, temb, skip_video, timesteps)
        x = frame_by_frame(lambda frame: ResnetBlock.forward(self, frame, temb), x).transpose(0, 1)[None]  # 1 c f h w
        h = over_time(self.time_stack.out_layers, over_time(self.time_stack.in_layers, x.clone()))
        h.mul_(self.get_alpha(1)).add_(x)  # alpha * (x + h) + (1 - alpha) * x
        return h[0].transpose(0, 1)


class FrameUpsample(Upsample):
    """ComfyUI's upsampling, with the convolution of another."""

    def __init__(self, other: Upsample) -> None:
        super().__init__(0, False, scale_factor=other.scale_factor)
        self.with_conv = other.with_conv
        if other.with_conv:
            self.conv = other.conv

    def forward(self, x: torch.Tensor, *carried) -> torch.Tensor:
        if not one_by_one(x):
            return super().forward(x, *carried)
        return frame_by_frame(super().forward, x)


def blocks() -> dict[str, Callable]:
    """What ComfyUI's decoder is to be made of, as its options."""
    return {
        "resnet_op": partial(TimeBlock, video_kernel_size=TIME_KERNEL),
        "conv_out_op": partial(AE3DConv, video_kernel_size=TIME_KERNEL),
    }


def upsample_by_frame(decoder: Any) -> None:
    """Replace a decoder's upsampling, which is no option of ComfyUI's, keeping its weights and their names."""
    for level in decoder.up:
        if hasattr(level, "upsample"):
            level.upsample = FrameUpsample(level.upsample)


def one_by_one(frames: torch.Tensor) -> bool:
    """Whether frames are to be taken one by one; not where gradients are wanted, which need what is let go or written over here."""
    return frames.device.type == "cpu" and not torch.is_grad_enabled()


def frame_by_frame(run: Callable[[torch.Tensor], torch.Tensor], frames: torch.Tensor) -> torch.Tensor:
    """`run` of each frame, [f, c, h, w] -> [f, c', h', w'], in the memory's order of c' f h' w' that layers over time take."""
    first = run(frames[:1])
    out = first.new_empty(first.shape[1], len(frames), *first.shape[2:])
    out[:, 0] = first[0]
    del first
    for i in range(1, len(frames)):
        out[:, i] = run(frames[i : i + 1])[0]
    return out.transpose(0, 1)


def over_time(layers: Sequence[Any], x: torch.Tensor) -> torch.Tensor:
    """Norm, SiLU and a convolution over time alone, which needs only some rows at once: [1, c, f, h, w], in x's own memory."""
    norm = layers[0]
    for part, weight, bias in zip(
        *(tensor.chunk(norm.num_groups, dim) for tensor, dim in ((x, 1), (norm.weight, 0), (norm.bias, 0))), strict=True
    ):
        part.copy_(torch.nn.functional.group_norm(part, 1, weight, bias, norm.eps))
    torch.nn.functional.silu(x, inplace=True)
    for rows in x.split(ROWS, dim=3):
        rows.copy_(layers[-1](rows))
    return x
