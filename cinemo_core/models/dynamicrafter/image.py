"""The picture as the image tower sees it: the whole of it, squashed to a square, blurred before it is made smaller."""

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(image: Tensor) -> Tensor:
    """[b, 3, h, w] in -1..1 -> [b, 3, 224, 224], normalised as CLIP was trained.

    A Gaussian blur against aliasing, then bicubic with aligned corners, neither clamped nor rounded: the numbers of
    `kornia.geometry.resize(antialias=True)`, which the authors call.
    """
    factors = (image.shape[2] / SIZE, image.shape[3] / SIZE)
    if max(factors) > 1:
        image = blur(image, tuple(max((factor - 1) / 2, 0.001) for factor in factors))
    image = F.interpolate(image, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
    mean, std = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((image + 1) / 2 - mean) / std


def blur(image: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """A Gaussian of these deviations along height and width, in pixels; the border is reflected."""
    channels = image.shape[1]
    for dim, sigma in zip((2, 3), sigmas, strict=True):
        kernel = gaussian(sigma).to(image)
        reach = len(kernel) // 2
        padding = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
        weight = kernel.reshape((1, 1, -1, 1) if dim == 2 else (1, 1, 1, -1)).expand(channels, -1, -1, -1)
        image = F.conv2d(F.pad(image, padding, mode="reflect"), weight, groups=channels)
    return image


def gaussian(sigma: float) -> Tensor:
    """Weights that sum to 1, float32; as many as kornia takes: four deviations, made odd."""
    size = int(max(4 * sigma, 3)) | 1
    distance = torch.arange(size, dtype=torch.float32) - size // 2
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()
