"""The published feature networks, TorchScript files that take raw 8-bit pixels and resize and scale inside.

    I3D        [b, 3, f, h, w] -> [b, 400]   for FVD and KVD: logits of a clip, with the network's own resize to 224x224
    C3D        [b, 3, f, h, w] -> [b, 101]   for IS: probabilities of the classes of UCF-101
    Inception  [n, 3, h, w]    -> [n, 2048]  for FID: pooled features of a frame

The calls are those of StyleGAN-V's metrics, which made the first two files. Each network looks at a grey clip when it is
made, so that a wrong file is refused before any clip is read.
"""

from pathlib import Path

import numpy as np
import torch

from ..errors import CheckpointError
from .settings import FRAMES
from .torchscript import call, load, unlike

GREY = 128
TOLERANCE = 1e-3  # of a sum of probabilities, in float32 or less


class FeatureNetwork:
    """Features of clips, uint8 [b, f, h, w, 3], in float64. `width` is how many numbers the network gives for each.

    Raises CheckpointError for a file that is not TorchScript or does not take or give what the published network does.
    """

    name: str
    options: dict[str, bool] = {}

    def __init__(self, path: Path, device: torch.device, frames: int, width: int, height: int):
        self.path = path
        self.device = device
        self.module = load(self.name, path, device)
        grey = torch.full((1, frames, height, width, 3), GREY, dtype=torch.uint8)
        try:
            self.width = self(grey).shape[1]
        except CheckpointError as error:
            if frames == FRAMES:
                raise
            raise CheckpointError(
                f"{error} Or it takes no clips of {frames} frames: the published ones were made for --frames {FRAMES}."
            ) from error

    @torch.inference_mode()
    def __call__(self, clips: torch.Tensor) -> np.ndarray:
        pixels = self.arrange(clips.to(self.device))
        return call(self.name, self.path, self.module, pixels, **self.options).cpu().numpy().astype(np.float64)

    def arrange(self, clips: torch.Tensor) -> torch.Tensor:
        """The axes as the network takes them."""
        return clips.permute(0, 4, 1, 2, 3)  # b f h w c -> b c f h w


class I3D(FeatureNetwork):
    """Logits of a clip."""

    name = "i3d"
    options = {"rescale": True, "resize": True, "return_features": True}


class C3D(FeatureNetwork):
    """Probabilities of a clip's class."""

    name = "c3d"

    def __call__(self, clips: torch.Tensor) -> np.ndarray:
        probabilities = super().__call__(clips)
        if (probabilities < 0).any() or (abs(probabilities.sum(1) - 1) > TOLERANCE).any():
            raise unlike(self.name, self.path, "gives values that are not probabilities")
        return probabilities


class Inception(FeatureNetwork):
    """Pooled features of every frame; the rows of a clip follow one another."""

    name = "inception"
    options = {"return_features": True}

    def arrange(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.flatten(0, 1).permute(0, 3, 1, 2)  # b f h w c -> (b f) c h w
