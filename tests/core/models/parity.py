"""How close to a recorded output of official code a network must come, in float32."""

import torch

MAX_ABS = 5e-5
REL_RMS = 1e-5


def assert_parity(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    error = (found - expected).double()
    assert error.abs().max() <= MAX_ABS
    assert error.square().mean().sqrt() <= REL_RMS * expected.double().square().mean().sqrt()


def fold(video: torch.Tensor) -> torch.Tensor:
    return video.transpose(1, 2).flatten(0, 1)  # b c f h w -> b*f c h w


def unfold(frames: torch.Tensor, clips: int) -> torch.Tensor:
    return frames.unflatten(0, (clips, -1)).transpose(1, 2)  # b*f c h w -> b c f h w
