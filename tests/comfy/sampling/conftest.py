"""The small reference UNet as a ComfyUI MODEL, and clips for it."""

from dataclasses import dataclass

import comfy.latent_formats
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, ClipCondition
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.tests.goldens import tiny_a_state_dict
from safetensors.torch import save_file

CONTEXT_DIM = 40
MOTION_ID = 90.0


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("tiny") / "unet.safetensors"
    save_file({name: tensor.half() for name, tensor in tiny_a_state_dict().items()}, path)  # exact: tiny_a's weights are float16's
    return str(path)


@pytest.fixture(scope="session")
def loaded(tiny_file):
    return load_unet(tiny_file, "fp32")


@pytest.fixture
def model(loaded):
    """A clone, so that patches of one test do not reach the next; runs as ComfyUI runs nodes, without gradients."""
    with torch.inference_mode():
        yield loaded.clone()


def relative_rms(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).double().square().mean() / expected.double().square().mean()).sqrt().item()


def assert_same_but_for_rounding(found: torch.Tensor, expected: torch.Tensor) -> None:
    """For weights that came into memory in two ways: how a sum is split may depend on how its operands are aligned."""
    assert relative_rms(found, expected) <= 1e-4


@dataclass
class Clip:
    """A clip ready to sample. z0 is in the network's scale, [1, 4, h, w]; `samples` is the still clip as a LATENT holds it."""

    z0: torch.Tensor
    samples: torch.Tensor
    positive: list
    negative: list


def make_clip(z0: torch.Tensor, frames: int, text: torch.Tensor, negative_text: torch.Tensor, motion_id: float = MOTION_ID) -> Clip:
    unscaled = comfy.latent_formats.SD15().process_out(z0)
    options = {CLIP_KEY: ClipCondition(unscaled, motion_id, frames)}
    return Clip(z0, unscaled.repeat(frames, 1, 1, 1), [[text, options]], [[negative_text, options]])


def random_clip(frames: int = 5, height: int = 6, width: int = 7) -> Clip:
    """A clip with random content and random text."""
    generator = torch.Generator().manual_seed(3)
    z0 = torch.randn(1, 4, height, width, generator=generator)
    text, negative_text = torch.randn(2, 1, 9, CONTEXT_DIM, generator=generator)
    return make_clip(z0, frames, text, negative_text)


@pytest.fixture
def clip() -> Clip:
    return random_clip()


def animate(
    model, clip: Clip, steps: int = 2, denoise: float = 1.0, samples: torch.Tensor | None = None, noise=None, **latent
) -> torch.Tensor:
    """Frames after a few steps of the residual KSampler."""
    latent["samples"] = clip.samples if samples is None else samples
    frames, _ = sample_clip(
        model, clip.positive, clip.negative, latent, Sampling(1, steps, 4.0, "ddim", "cinemo_ddim", denoise=denoise), noise=noise
    )
    return frames["samples"]
