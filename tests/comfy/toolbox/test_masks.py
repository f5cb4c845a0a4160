"""Noise masks, in space and over frames, with our sampler and the stock one."""

import pytest
import torch

from .conftest import node, per_frame, sample
from .kits import FRAMES, HEIGHT, WIDTH, cinemo_and_dynamicrafter, every_family


def ours(model, clip, latent: dict, schedule: int = 0) -> torch.Tensor:
    return clip.kit.sample(model, clip, latent, 3, clip.kit.schedulers[schedule])


def ours_karras(model, clip, latent: dict) -> torch.Tensor:
    return ours(model, clip, latent, schedule=1)


def stock(model, clip, latent: dict) -> torch.Tensor:
    return sample(model, clip, **latent)


SAMPLERS = {"own KSampler": ours, "own KSampler, karras": ours_karras, "stock KSampler": stock}
samplers = pytest.mark.parametrize("run", SAMPLERS.values(), ids=SAMPLERS.keys())


def masked(samples: torch.Tensor, mask: torch.Tensor) -> dict:
    """The LATENT with a mask [1 or F, H, W] in pixels: 1 is sampled, 0 is kept."""
    return node("SetLatentNoiseMask", samples={"samples": samples}, mask=mask)


@every_family
@samplers
def test_a_region_stands_still(model, clip, run):
    mask = torch.ones(1, HEIGHT * 8, WIDTH * 8)
    mask[..., : WIDTH * 4] = 0
    out = run(model, clip, masked(clip.samples, mask))
    torch.testing.assert_close(out[..., : WIDTH // 2], clip.samples[..., : WIDTH // 2], rtol=0, atol=1e-3)
    assert (per_frame((out - clip.samples)[clip.moving, ..., WIDTH // 2 :]) > 1).all()


def first_and_last(clip, seed: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """The still clip with another image's latent as its last frame, put together by stock nodes; and the mask that keeps both ends."""
    end = torch.randn(1, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) * 5
    still = node("LatentFromBatch", samples={"samples": clip.samples}, batch_index=0, length=FRAMES - 1)
    samples = node("LatentBatch", samples1=still, samples2={"samples": end})["samples"]
    mask = torch.ones(FRAMES, HEIGHT * 8, WIDTH * 8)
    mask[[0, -1]] = 0
    return samples, mask


@every_family
@samplers
def test_first_and_last_frame(model, clip, run):
    """Both ends come out as given, and the frames between them go by the end they head for."""
    samples, mask = first_and_last(clip)
    out = run(model, clip, masked(samples, mask))
    torch.testing.assert_close(out[[0, -1]], samples[[0, -1]], rtol=0, atol=1e-3)
    other, mask = first_and_last(clip, seed=31)
    moved = per_frame(run(model, clip, masked(other, mask)) - out)
    assert (moved[1:-1] > clip.kit.bound(cinemo=1, dynamicrafter=0.02, animate_anyone=0.02)).all()


@cinemo_and_dynamicrafter  # Animate Anyone has no KSampler of its own, which would put frames back
def test_the_residual_sampler_keeps_both_ends_to_rounding(model, clip):
    samples, mask = first_and_last(clip)
    out = ours(model, clip, masked(samples, mask))
    assert torch.equal(out[0], samples[0])
    torch.testing.assert_close(out[-1], samples[-1], rtol=1e-6, atol=1e-6)


@every_family
@samplers
def test_soft_mask(model, clip, run):
    """DifferentialDiffusion: a place is sampled for as many of the last steps as its mask is high."""
    mask = torch.linspace(0, 1, WIDTH)[None, None, :].expand(1, HEIGHT, -1)
    soft = node("DifferentialDiffusion", model=model, strength=1.0)
    plain, out = (run(m, clip, masked(clip.samples, mask)) for m in (model, soft))
    distance = (out - clip.samples)[clip.moving].abs().mean(dim=(0, 1, 2))
    assert (
        distance[0] < clip.kit.bound(cinemo=0.01, dynamicrafter=0.05, animate_anyone=0.05) * distance[-1]
        and distance[: WIDTH // 2].mean() < distance[WIDTH // 2 :].mean()
    )
    assert not torch.equal(out, plain)
