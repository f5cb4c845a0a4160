"""What the measurements of full-size networks share: the clip's size, random weights, the size of a bank, a clock."""

import time
from collections.abc import Callable

import torch

from cinemo_core.models.sd_unet.config import UNetConfig

FRAMES, HEIGHT, WIDTH = 16, 20, 32
WARM_UP = 1
Run = Callable[[], object]


def seeded(seed: int, device: torch.device) -> torch.Generator | None:
    """None on the meta device, where nothing is drawn."""
    return None if device.type == "meta" else torch.Generator(device).manual_seed(seed)


def fill(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights of ordinary size, so that no arithmetic runs on zeros, infinities or denormals."""
    generator = seeded(0, next(network.parameters()).device)
    for weight in network.parameters():
        weight.requires_grad_(False)
        if weight.ndim > 1:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        else:
            weight.uniform_(0.5, 1.0, generator=generator)
    return network.eval()


def banked(config: UNetConfig, places: int = HEIGHT * WIDTH) -> list[tuple[int, int]]:
    """Tokens and channels of the bank of a picture of so many latents, in the order of the blocks that attend to it."""
    sizes = [(places >> 2 * level, channels) for level, channels in enumerate(config.widths)]
    encoder = [size for size, count in zip(sizes, config.num_res_blocks, strict=True) for _ in range(count)]
    decoder = [size for size, count in zip(reversed(sizes), reversed(config.num_res_blocks), strict=True) for _ in range(count + 1)]
    attending = [size for size, depth in zip(encoder, config.transformer_depth, strict=True) if depth]
    attending += [sizes[-1]] * config.transformer_depth_middle
    return attending + [size for size, depth in zip(decoder, reversed(config.transformer_depth_output), strict=True) if depth]


def seconds(run: Run, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
