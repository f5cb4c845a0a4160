"""Latents, images and conditionings of any shape, type and content: every node works on them or refuses them in one sentence."""

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, ClipCondition, Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, reference_sigmas, sample_clip
from cinemo_pack.cinemo_core.comfyui.decode import decode_clip
from cinemo_pack.cinemo_core.comfyui.measure import measure_motion, report_motion
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.comfyui.vae import load_vae
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.cinemo_core.motion.residual import merge_clip, split_clip
from cinemo_pack.cinemo_core.resize import RESIZE_MODES
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from .conftest import CONTEXT_DIM, random_clip

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
FEW_FIT = settings(FUZZ, suppress_health_check=[*FUZZ.suppress_health_check, HealthCheck.filter_too_much])
SIDES = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 11, 16])
VALUES = st.sampled_from(["normal", "nan", "inf", "huge", "zero"])
TYPES = st.sampled_from([torch.float32, torch.float32, torch.float16, torch.float64, torch.uint8, torch.int64])


@st.composite
def tensors(draw: st.DrawFn, *usual: int) -> torch.Tensor:
    """A tensor of the usual shape, or one like it with sides changed, lost or added; with odd values at times."""
    shape = list(usual)
    for axis in draw(st.lists(st.integers(0, len(shape) - 1), max_size=2)):
        shape[axis] = draw(SIDES)
    shape = shape[: draw(st.integers(0, len(shape)))] if draw(st.integers(0, 5)) == 0 else shape
    shape = [*shape, 1] if draw(st.integers(0, 9)) == 0 else shape
    values, dtype = draw(VALUES), draw(TYPES)
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    tensor = {"normal": tensor, "nan": tensor.log().log(), "inf": tensor / 0, "huge": tensor * 1e30, "zero": tensor * 0}[values]
    return tensor.nan_to_num().clamp(0, 200).to(dtype) if not dtype.is_floating_point else tensor.to(dtype)


def works_or_refuses(function, *arguments) -> None:
    """Anything but our own errors comes out and fails the test."""
    try:
        function(*arguments)
        refused = "none"
    except CinemoError as error:
        refused = str(error)
    assert refused and "\n" not in refused


@pytest.fixture(scope="module")
def vae(drawn):
    return load_vae(str(drawn / "vae" / "diffusion_pytorch_model.bin"))


@FUZZ
@given(tensors(5, 16, 24, 3), st.integers(-1, 40), st.integers(-1, 40), st.integers(-1, 4), st.sampled_from([*RESIZE_MODES, "other"]))
def test_measuring(images, width, height, stride, resize):
    works_or_refuses(measure_motion, images, width, height, stride, resize)


@FUZZ
@given(tensors(3, 16, 24, 3), st.none() | tensors(1, 16, 24, 3), st.sampled_from(list(RESIZE_MODES)))
def test_reporting(images, first, resize):
    works_or_refuses(report_motion, images, first, resize)


@FUZZ
@given(tensors(5, 4, 6, 7), tensors(4, 4, 6, 7), st.floats(-3, 5) | st.sampled_from([float("nan"), float("inf")]))
def test_splitting_and_merging(clip, residual, gain):
    works_or_refuses(split_clip, clip)
    works_or_refuses(merge_clip, clip, residual, gain)


@FUZZ
@given(tensors(5, 4, 6, 7), st.floats(-1, 2), st.integers(-5, 1100), st.floats(-1, 2))
def test_noise(latent, cutoff, level, temporal_cutoff):
    works_or_refuses(
        lambda: DCTInitNoise(latent, random_noise(1), LowPass(cutoff, level, temporal_cutoff)).generate_noise({"samples": latent})
    )


@FUZZ
@given(tensors(3, 4, 2, 3))
def test_decoding(vae, latent):
    works_or_refuses(decode_clip, vae, latent)


@FUZZ
@given(
    tensors(1, 24, 32, 3),
    st.sampled_from([-8, 0, 8, 12, 16, 24, 32]),
    st.sampled_from([-8, 0, 8, 12, 16, 24]),
    st.integers(-1, 6),
    st.integers(-2, 21),
    st.sampled_from([*RESIZE_MODES, "other"]),
    st.none() | st.integers(-5, 120),
)
def test_conditioning(vae, image, width, height, frames, bucket, resize, motion_id):
    text = [[torch.zeros(1, 9, CONTEXT_DIM), {}]]
    motion = Motion(bucket) if motion_id is None else Motion(bucket, motion_id)
    works_or_refuses(condition_clip, text, text, vae, image, ClipSize(width, height, frames, resize), motion)


@FUZZ
@given(tensors(5, 4, 6, 7))
def test_latents_to_sample(loaded, latent):
    clip = random_clip()
    with torch.inference_mode():
        sampling = Sampling(1, 1, 1.0, "ddim", "cinemo_ddim")
        works_or_refuses(sample_clip, loaded.clone(), clip.positive, clip.negative, {"samples": latent}, sampling)


@FEW_FIT
@given(tensors(1, 9, CONTEXT_DIM), tensors(1, 4, 6, 7), st.integers(-2, 9), st.floats(-1e6, 1e6) | st.just(float("nan")), st.booleans())
def test_conditionings_to_sample(loaded, text, z0, frames, motion_id, has_clip):
    assume(text.dtype.is_floating_point and text.ndim == 3 and z0.ndim == 4 and z0.shape[:2] == (1, 4))  # what nodes can make
    clip = random_clip()
    options = {CLIP_KEY: ClipCondition(z0, motion_id, frames)} if has_clip else {}
    arguments = ([[text, options]], clip.negative, {"samples": clip.samples}, Sampling(1, 1, 2.0, "ddim", "cinemo_ddim"))
    with torch.inference_mode():
        works_or_refuses(sample_clip, loaded.clone(), *arguments)


@FUZZ
@given(st.integers(-3, 1100) | st.booleans(), st.floats(-1, 2) | st.just(float("nan")))
def test_schedules(loaded, steps, denoise):
    works_or_refuses(reference_sigmas, loaded, steps, denoise)
