"""Residuals and frames turn into each other; frame 0 is z0."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion.residual import merge_clip, split_clip, static_clip, to_frames, to_residual
from cinemo_pack.tests.goldens import load


@pytest.fixture
def z0() -> torch.Tensor:
    return torch.randn(1, 4, 5, 7, generator=torch.Generator().manual_seed(1))


def test_round_trip_pins_frame_0(z0):
    clip = torch.randn(6, 4, 5, 7, generator=torch.Generator().manual_seed(2))
    residual = to_residual(clip, z0)
    assert torch.equal(residual[3], clip[3] - z0[0])
    back = to_frames(residual, z0)
    assert torch.allclose(back[1:], clip[1:], atol=1e-6)
    assert torch.equal(back[:1], z0)
    assert torch.equal(residual, to_residual(clip, z0)), "the residual must not change"


def test_reference_runs_end_in_the_same_frames():
    golden = load("ddim")
    for run in ("s10", "s50_f15", "chain"):
        z0 = golden[f"{run}.base_content"][0].transpose(0, 1)
        residual = golden[f"{run}.final_residual"][0].transpose(0, 1)
        expected = golden[f"{run}.final_latents"][0].transpose(0, 1)
        found = to_frames(torch.cat([torch.zeros_like(z0), residual]), z0)
        torch.testing.assert_close(found, expected, rtol=torch.finfo(torch.float32).eps, atol=0)


def test_a_static_clip_has_no_motion(z0):
    clip = static_clip(z0, 16)
    assert clip.shape == (16, 4, 5, 7)
    assert not to_residual(clip, z0).any()
    clip[1] = 0
    assert torch.equal(clip[:1], z0) and z0.any(), "the frames must not share memory"


@pytest.mark.parametrize("function", [to_residual, to_frames])
@pytest.mark.parametrize("shape", [(6, 4, 5, 8), (6, 3, 5, 7), (0, 4, 5, 7), (1, 4, 6, 5, 7)])
def test_sizes_must_agree(function, shape, z0):
    with pytest.raises(InputError, match="same clip"):
        function(torch.zeros(shape), z0)


def test_the_first_frame_must_be_one_latent(z0):
    with pytest.raises(InputError, match="same clip"):
        to_residual(torch.zeros(2, 4, 5, 7), torch.zeros(2, 4, 5, 7))
    with pytest.raises(InputError, match="one latent"):
        static_clip(torch.zeros(2, 4, 5, 7), 16)
    with pytest.raises(InputError, match="0 frames"):
        static_clip(z0, 0)


def test_split_and_merge(z0):
    clip = torch.randn(6, 4, 5, 7, generator=torch.Generator().manual_seed(2))
    first, residual = split_clip(clip)
    assert torch.equal(first, clip[:1]) and not residual[0].any()
    torch.testing.assert_close(merge_clip(first, residual), clip, rtol=0, atol=1e-6)
    assert torch.equal(merge_clip(first, residual, 0.0), first.expand_as(clip))
    moved = merge_clip(z0, residual, 2.0)
    assert torch.equal(moved[:1], z0)
    torch.testing.assert_close(moved - z0, 2 * residual, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="same width and height"):
        merge_clip(z0[..., :6], residual)
    with pytest.raises(InputError, match="gain is 5.0"):
        merge_clip(z0, residual, 5.0)
