"""The trainer's group norm is torch's, in values and gradients, whatever the layout, the type and the mean of what it reads."""

import copy

import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.cinemo_core.training.group_norm import GroupNorm, NormSiLU, use_fast_norms
from torch import nn

SHAPES = [(2, 64, 6, 5), (2, 64, 3, 6, 5)]


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(silu: bool) -> tuple[nn.GroupNorm, nn.Module]:
    theirs = nn.GroupNorm(32, 64, eps=1e-5)
    with torch.no_grad():
        theirs.weight.copy_(drawn((64,), 0))
        theirs.bias.copy_(drawn((64,), 1))
    ours = NormSiLU(32, 64, 1e-5) if silu else GroupNorm(32, 64, 1e-5)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_values_and_gradients_are_torch_s(shape, silu, mean):
    theirs, ours = pair(silu)
    direction = drawn(shape, 3)
    found = []
    for norm, activation in ((theirs, F.silu if silu else lambda y: y), (ours, lambda y: y)):
        x = (drawn(shape, 2) + mean).requires_grad_()
        y = activation(norm(x))
        (y * direction).sum().backward()
        found.append((y, x.grad, norm.weight.grad, norm.bias.grad))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-3)


def test_channels_last_stays_so():
    _, ours = pair(False)
    x = drawn(SHAPES[0], 2).contiguous(memory_format=torch.channels_last)
    assert ours(x).is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_keeps_what_varies_around_a_large_mean():
    theirs, ours = pair(True)
    x = (drawn(SHAPES[0], 2) + 8).bfloat16()
    expected = F.silu(theirs(x.float()))
    assert (ours(x).float() - expected).square().mean().sqrt() < 0.01


def test_a_vae_with_fast_norms_is_the_same_vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
    )
    fast = copy.deepcopy(vae)
    use_fast_norms(fast)
    assert fast.state_dict().keys() == vae.state_dict().keys()
    x = drawn((1, 3, 16, 16), 4)
    with torch.no_grad():
        torch.testing.assert_close(fast(x).sample, vae(x).sample, rtol=1e-3, atol=1e-3)
