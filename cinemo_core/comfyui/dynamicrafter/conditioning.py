"""What a conditioning must carry for DynamiCrafter: its image as tokens and as latents, the motion number, the length of the clip."""

from dataclasses import dataclass

import node_helpers
import torch

from ...errors import ConditioningError
from ...models.dynamicrafter.tokens import RESAMPLED

CONDITIONER = "Cinemo DynamiCrafter Conditioning"
IMAGE_KEY = "cinemo_dynamicrafter_image"


@dataclass(frozen=True)
class ImageCondition:
    """The image of one clip.

    latents: [f, 4, h, w] as the VAE gives them (unscaled), of each frame that is known, zeros for the others; the image to animate is
    given to all. tower: tokens of the image tower [1, l, d]. fs: frame stride or frames per second, as the variant reads it.
    tokens: which image tokens each frame sees, a rule of `models.dynamicrafter.tokens`.
    """

    latents: torch.Tensor
    tower: torch.Tensor
    fs: int
    tokens: str = RESAMPLED

    @property
    def frames(self) -> int:
        return self.latents.shape[0]


def image_of(conditioning: list, name: str) -> ImageCondition:
    """The image of a CONDITIONING list; raises ConditioningError where an entry has none or entries disagree on the clip."""
    images = [options.get(IMAGE_KEY) for _, options in conditioning]
    if not images or None in images:
        raise ConditioningError(
            f"The {name} conditioning does not say which image to animate; pass it through {CONDITIONER} before the sampler."
        )
    if any(image.latents.shape != images[0].latents.shape for image in images):
        raise ConditioningError(
            f"The {name} conditioning combines clips of different sizes or lengths; give every part the same width, height and frames."
        )
    return images[0]


def attach_image(image: ImageCondition, *conditionings: list) -> list[list]:
    """The conditionings with every entry saying which image it belongs to; an earlier one is replaced, the inputs stay as they are."""
    return [node_helpers.conditioning_set_values(conditioning, {IMAGE_KEY: image}) for conditioning in conditionings]


def check_image_condition(image: ImageCondition, latent_shape: torch.Size) -> None:
    """Raise ConditioningError unless a latent of this shape is the clip that the conditioning was made for."""
    frames, _, height, width = latent_shape
    own_height, own_width = image.latents.shape[-2:]
    if (image.frames, own_height, own_width) != (frames, height, width):
        raise ConditioningError(
            f"The conditioning is for {image.frames} frames of {own_width * 8}x{own_height * 8}, the latent has {frames} frames of "
            f"{width * 8}x{height * 8}; use the latent of the same {CONDITIONER}, or set its size and length to the clip's."
        )
