"""Names and shapes of all tensors of a Cinemo UNet, without allocating one."""

import torch
from torch import nn

from .config import CinemoConfig
from .unet import CinemoUNet


class _Uninitialised:
    """`operations` whose layers leave their parameters as allocated."""

    class Linear(nn.Linear):
        def reset_parameters(self) -> None:
            pass

    class Conv2d(nn.Conv2d):
        def reset_parameters(self) -> None:
            pass

    class GroupNorm(nn.GroupNorm):
        def reset_parameters(self) -> None:
            pass

    class LayerNorm(nn.LayerNorm):
        def reset_parameters(self) -> None:
            pass

    class Embedding(nn.Embedding):
        def reset_parameters(self) -> None:
            pass


def expected_shapes(config: CinemoConfig) -> dict[str, tuple[int, ...]]:
    """LDM name -> shape of every tensor that a UNet of this configuration holds."""
    unet = CinemoUNet(
        config, attention=nn.functional.scaled_dot_product_attention, dtype=torch.float32, device="meta", operations=_Uninitialised
    )
    return {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
