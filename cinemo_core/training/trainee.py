"""What is trained, as one module: one forward pass, one backward pass, however the parts are spread over machines."""

from torch import Tensor, nn

from ..models.cinemo.unet import CinemoUNet
from . import text
from .objective import noise_loss


class Trainee(nn.Module):
    """The UNet and, if it is trained along, the text encoder."""

    def __init__(self, unet: CinemoUNet, text_encoder: nn.Module | None) -> None:
        super().__init__()
        self.unet: CinemoUNet = unet
        self.text_encoder = text_encoder

    def forward(self, frames: Tensor, noise: Tensor, timesteps: Tensor, motion_ids: Tensor, text_input: Tensor, weights: Tensor) -> Tensor:
        """The loss of Eq. 3. frames: X_t, [b, f, c, h, w]; text_input: tokens [b, 77], or their encoding if the encoder is frozen."""
        context = text_input if self.text_encoder is None else text.encode(self.text_encoder, text_input)
        count = frames.shape[1]
        predicted = self.unet(frames.flatten(0, 1), timesteps.repeat_interleave(count), context, motion_ids)
        return noise_loss(predicted.unflatten(0, (-1, count)), noise, weights)
