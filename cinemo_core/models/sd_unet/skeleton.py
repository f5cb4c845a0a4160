"""Names and shapes of all tensors of a network, without allocating one."""

from collections.abc import Callable

import torch
from torch import nn


class Uninitialised:
    """`operations` whose layers leave their parameters as allocated."""

    class Linear(nn.Linear):
        def reset_parameters(self) -> None:
            pass

    class Conv1d(nn.Conv1d):
        def reset_parameters(self) -> None:
            pass

    class Conv2d(nn.Conv2d):
        def reset_parameters(self) -> None:
            pass

    class Conv3d(nn.Conv3d):
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


def tensor_shapes(build: Callable[..., nn.Module]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the network that `build(attention=, dtype=, device=, operations=)` makes."""
    attention = nn.functional.scaled_dot_product_attention
    network = build(attention=attention, dtype=torch.float32, device="meta", operations=Uninitialised)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
