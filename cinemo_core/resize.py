"""Brings an image to the size of the video.

`cover` (Lanczos, centre crop) is what the authors' demo does; `reference` is the crop of their sampling script; `stretch`
and `pad` keep the whole picture. Lanczos runs on 32-bit floats, so an image keeps more than 8 bits.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .errors import InputError
from .shapes import check_image


def resize_image(image: torch.Tensor, width: int, height: int, mode: str = "cover") -> torch.Tensor:
    """Resize an image batch [b, h, w, 3 or 4] in 0..1 to float32 [b, height, width, 3] in 0..1; alpha is dropped.

    mode: "cover" (scale until the frame is filled, cut the rest off evenly), "reference" (as the authors' script),
    "stretch" (ignore the aspect ratio), "pad" (scale until it fits, centre on black).
    Raises InputError for an unknown mode, an empty target and images that `check_image` refuses.
    """
    check_image(image)
    if mode not in RESIZE_MODES:
        raise InputError(f"The resize mode is {mode!r}; choose one of {', '.join(RESIZE_MODES)}.")
    if width < 1 or height < 1:
        raise InputError(f"The image is to become {width}x{height}; choose a width and a height of at least 1 pixel.")
    planes = image[..., :3].detach().to("cpu", torch.float32).movedim(-1, 1)  # b h w c -> b c h w
    resized = RESIZE_MODES[mode](planes, width, height)
    return resized.clamp(0.0, 1.0).movedim(1, -1).contiguous()  # b c h w -> b h w c


def _cover(planes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    source_height, source_width = planes.shape[-2:]
    scale = max(width / source_width, height / source_height)
    # The part of the source that stays visible, in source pixels; its edges may fall between pixels.
    left = max(0.0, (source_width - width / scale) / 2)
    top = max(0.0, (source_height - height / scale) / 2)
    return _lanczos(planes, width, height, (left, top, source_width - left, source_height - top))


def _stretch(planes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    return _lanczos(planes, width, height, (0, 0, planes.shape[-1], planes.shape[-2]))


def _pad(planes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    source_height, source_width = planes.shape[-2:]
    scale = min(width / source_width, height / source_height)
    inner_width = min(width, max(1, round(source_width * scale)))
    inner_height = min(height, max(1, round(source_height * scale)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    padded = planes.new_zeros(*planes.shape[:2], height, width)
    padded[..., top : top + inner_height, left : left + inner_width] = _stretch(planes, inner_width, inner_height)
    return padded


def _reference(planes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """The sampling script's crop: bilinear without antialias to one pixel more than needed, then a centre crop.

    The sampling step is 1 / scale itself, not the ratio of the rounded sizes, and the offset is rounded half to even.
    The extra pixel means that an image of exactly the target size is resampled too.
    """
    source_height, source_width = planes.shape[-2:]
    scale = max((height + 1) / source_height, (width + 1) / source_width)
    resized = F.interpolate(planes, scale_factor=scale, mode="bilinear", align_corners=False)
    top = round((resized.shape[-2] - height) / 2)
    left = round((resized.shape[-1] - width) / 2)
    return resized[..., top : top + height, left : left + width]


def _lanczos(planes: torch.Tensor, width: int, height: int, box: tuple[float, float, float, float]) -> torch.Tensor:
    """Lanczos of the source region `box` (left, top, right, bottom); the filter widens when shrinking, so nothing aliases."""
    import numpy as np
    from PIL import Image

    resized = []
    for plane in planes.contiguous().flatten(0, 1).numpy():  # b c h w -> (b c) h w
        picture = Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS, box)
        resized.append(np.asarray(picture))
    return torch.from_numpy(np.stack(resized)).unflatten(0, planes.shape[:2])


RESIZE_MODES: dict[str, Callable[[torch.Tensor, int, int], torch.Tensor]] = {
    "cover": _cover,
    "reference": _reference,
    "stretch": _stretch,
    "pad": _pad,
}
