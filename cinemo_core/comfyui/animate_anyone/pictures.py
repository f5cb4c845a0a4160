"""Pictures as the re-implementation gives them to its networks: 8-bit, and stretched to the size of the clip."""

import numpy as np
import torch
from PIL import Image

from ...resize import resize_image

STRETCH = "stretch"  # the re-implementation's; other modes are those of `resize_image`
RESIZES = (STRETCH, "cover", "pad")


def resize_8bit(images: torch.Tensor, width: int, height: int, kind: Image.Resampling) -> torch.Tensor:
    """[b, h, w, 3] in 0..1 -> uint8 [b, height, width, 3], to the last bit what PIL makes of 8-bit pictures."""
    pictures = (images[..., :3].detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    if pictures.shape[1:3] == (height, width):
        return pictures
    return torch.from_numpy(np.stack([np.asarray(Image.fromarray(picture.numpy()).resize((width, height), kind)) for picture in pictures]))


def reference_picture(image: torch.Tensor, width: int, height: int, resize: str = STRETCH) -> torch.Tensor:
    """The reference at the size of the clip, for the VAE: [1, height, width, 3] in 0..1."""
    if resize != STRETCH:
        return resize_image(image[:1], width, height, resize)
    return resize_8bit(image[:1], width, height, Image.Resampling.LANCZOS) / 255


def pose_pictures(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Pictures of poses at the size of the clip: uint8 [f, 3, height, width]."""
    return resize_8bit(images, width, height, Image.Resampling.LANCZOS).permute(0, 3, 1, 2).contiguous()


def clip_picture(image: torch.Tensor, size: int) -> torch.Tensor:
    """The whole picture squashed to a square, for CLIP: [1, size, size, 3] in 0..1, which CLIP need not resize."""
    return resize_8bit(image[:1], size, size, Image.Resampling.BICUBIC) / 255
