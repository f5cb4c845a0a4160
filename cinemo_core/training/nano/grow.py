"""A wider network that does what a narrower one did: every channel twice or more, each with its share (arXiv 1511.05641).

Copies of a channel stay in its normalisation group, so the norms' statistics stay too. A little noise lets the copies part.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import CheckpointError

NOISE = 0.02  # in deviations of a tensor


@torch.no_grad()
def grow(network: torch.nn.Module, weights: Mapping[str, Tensor], generator: torch.Generator, noise: float = NOISE) -> None:
    """Give a diffusers VAE the function of narrower weights; each of its widths must be a multiple of theirs.

    Where a block of the wider network changes the width and the narrower one did not, its skip connection begins as the copy.
    Raises CheckpointError for weights of another kind.
    """
    grown = {}
    for name, target in network.state_dict().items():
        source = weights.get(name)
        if source is None:  # a skip connection: bias, or an identity of as many channels as the block's other weights have
            block = name.rpartition("conv_shortcut")[0]
            if f"{block}conv1.weight" not in weights:
                raise CheckpointError(f"The autoencoder to grow lacks the tensor {name}; start from one with as many levels and blocks.")
            channels = weights[f"{block}conv1.weight"].shape[0]
            source = torch.zeros(channels) if name.endswith("bias") else torch.eye(channels)[:, :, None, None]
        grown[name] = widen(source.float(), target.shape)
        if ".to_q." in name:  # products of queries and keys grow with the width, and are divided by its root only
            grown[name] *= (source.shape[0] / target.shape[0]) ** 0.5
        if source.shape != target.shape and target.ndim > 1:
            grown[name] += noise * grown[name].std() * torch.randn(target.shape, generator=generator)
    network.load_state_dict(grown)


def widen(source: Tensor, shape: torch.Size) -> Tensor:
    """Outputs (axis 0) are repeated; inputs (axis 1) are repeated and share what they gave."""
    outputs = shape[0] // source.shape[0]
    result = source.repeat_interleave(outputs, dim=0)
    if len(shape) > 1:
        inputs = shape[1] // source.shape[1]
        result = result.repeat_interleave(inputs, dim=1) / inputs
    return result
