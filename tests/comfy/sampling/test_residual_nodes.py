"""Cinemo Residual Split and Merge: a clip taken apart, amplified, stilled, and moved onto another image."""

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.nodes.residual import CinemoResidualMerge, CinemoResidualSplit


def rand(*shape) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def split(clip):
    return (latent["samples"] for latent in CinemoResidualSplit.execute({"samples": clip}).args)


def whole(parts, gain=1.0):
    return CinemoResidualMerge.execute(*parts, gain).args[0]


@pytest.mark.parametrize("shape", [(2, 16, 5, 6, 7), (5, 128, 6, 7), (5, 48, 4, 6, 7)])
def test_latents_of_any_model(shape):
    """With an axis of frames each clip of the batch has a first frame of its own."""
    clip = rand(*shape)
    axis = 0 if clip.ndim == 4 else 2
    first, residual = (part["samples"] for part in CinemoResidualSplit.execute({"samples": clip}).args)
    assert torch.equal(first, clip.narrow(axis, 0, 1)) and not residual.narrow(axis, 0, 1).any()
    torch.testing.assert_close(whole([{"samples": first}, {"samples": residual}])["samples"], clip)
    damped = whole([{"samples": clip}, {"samples": residual}], 0.5)["samples"]
    torch.testing.assert_close(damped, (clip + first) / 2)
    assert torch.equal(damped.narrow(axis, 0, 1), first)


def test_images():
    clip = torch.rand(5, 6, 7, 3, generator=torch.Generator().manual_seed(1))
    first, residual = CinemoResidualSplit.execute(clip).args
    assert torch.equal(first, clip[:1]) and residual.min() < 0
    torch.testing.assert_close(whole([first, residual]), clip)
    torch.testing.assert_close(whole([clip, residual], 0.6), 0.4 * first + 0.6 * clip)
    loud = whole([first, residual], 3.0)
    assert loud.min() == 0 and loud.max() == 1, "an image stays one"
    with pytest.raises(CinemoError, match="One input is a LATENT and the other an IMAGE"):
        whole([{"samples": CLIP}, residual])
    with pytest.raises(CinemoError, match=r"1 frame\(s\)"):
        CinemoResidualSplit.execute(clip[:1])


def merge(first_frame, residual, gain=1.0):
    return CinemoResidualMerge.execute({"samples": first_frame}, {"samples": residual}, gain).args[0]["samples"]


@pytest.fixture
def frames():
    return rand(6, 4, 5, 7)


def test_split_and_merge_undo_each_other(frames):
    kept = frames.clone()
    z0, residual = split(frames)
    assert z0.shape == (1, 4, 5, 7) and residual.shape == frames.shape
    assert torch.equal(z0, frames[:1]) and not residual[0].any()
    torch.testing.assert_close(merge(z0, residual), frames, rtol=0, atol=1e-6)
    assert torch.equal(merge(z0, residual)[:1], z0)
    assert torch.equal(merge(frames, residual), merge(z0, residual)), "of a clip the first frame counts"
    z0 += 1
    assert torch.equal(frames, kept), "the clip must not share memory with its parts"


@pytest.mark.parametrize("gain", [0.0, 0.5, 2.0, 4.0])
def test_gain_scales_the_motion(frames, gain):
    z0, residual = split(frames)
    out = merge(z0, residual, gain)
    torch.testing.assert_close(out - z0, gain * residual, rtol=1e-5, atol=1e-5)
    assert torch.equal(out[:1], z0)
    if gain == 0:
        assert torch.equal(out, z0.expand_as(out))


def test_a_motion_moves_onto_another_image(frames):
    _, residual = split(frames)
    other = rand(1, 4, 5, 7).to(torch.float16)
    out = merge(other, residual)
    assert out.dtype == residual.dtype
    torch.testing.assert_close(out - other, residual, rtol=1e-5, atol=1e-5)
    assert torch.equal(out[:1], other.float())


def test_it_is_the_residual_that_the_sampler_gives(model, clip):
    frames, residual = sample_clip(
        model, clip.positive, clip.negative, {"samples": clip.samples}, Sampling(1, 2, 4.0, "ddim", "cinemo_ddim")
    )
    assert torch.equal(merge(clip.samples, residual["samples"]), frames["samples"])
    torch.testing.assert_close(list(split(frames["samples"]))[1], residual["samples"], rtol=1e-5, atol=1e-3)


CLIP = torch.zeros(6, 4, 5, 7)


@pytest.mark.parametrize(
    ("first_frame", "residual", "gain", "message"),
    [
        (CLIP[..., 1:], CLIP, 1.0, r"first frame has shape \[6, 4, 5, 6\] and the motion \[6, 4, 5, 7\].* same width and height"),
        (CLIP[None], CLIP, 1.0, r"first frame has shape \[1, 6, 4, 5, 7\]"),
        (CLIP[:0], CLIP, 1.0, r"first frame has shape \[0, 4, 5, 7\]"),
        (CLIP, CLIP[:, :3], 1.0, r"the motion \[6, 3, 5, 7\]"),
        (CLIP, CLIP[:1], 1.0, r"1 frame\(s\)"),
        (CLIP, CLIP[None], 1.0, r"first frame has shape \[6, 4, 5, 7\]"),
        (CLIP, CLIP[0], 1.0, r"shape \[4, 5, 7\]"),
        (CLIP / 0, CLIP, 1.0, "NaN"),
        (CLIP, CLIP / 0, 0.0, "NaN"),
        (CLIP, CLIP, -0.1, "gain is -0.1; choose a number from 0"),
        (CLIP, CLIP, 4.1, "gain is 4.1; choose a number from 0"),
        (CLIP, CLIP, float("nan"), "gain is nan"),
    ],
)
def test_bad_input_to_merge(first_frame, residual, gain, message):
    with pytest.raises(CinemoError, match=message) as error:
        merge(first_frame, residual, gain)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("clip", "message"), [(CLIP[:1], r"1 frame\(s\)"), (CLIP[0], "a clip is"), (CLIP / 0, "NaN"), (CLIP[None, :, :1], r"1 frame\(s\)")]
)
def test_bad_input_to_split(clip, message):
    with pytest.raises(CinemoError, match=message):
        split_all = list(split(clip))
        assert not split_all
