"""Plain-torch sampling against recorded runs of the authors' sampling loop, and initial noise."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.dctinit import dct_init
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.cinemo_core.training.sampling import denoise, sample
from cinemo_pack.tests.goldens import load, meta

RUNS = {name: meta("ddim")["runs"][name] for name in ("s10", "s7", "s10_nocfg_odd")}


def relative_rms(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).double().square().mean() / expected.double().square().mean()).sqrt().item()


@pytest.mark.parametrize("name", RUNS)
def test_recorded_runs(tiny_unet, name):
    golden = {key.removeprefix(f"{name}."): value for key, value in load("ddim").items() if key.startswith(f"{name}.")}
    run = RUNS[name]
    z0 = golden["base_content"][:, :, 0].float()
    noise = golden["initial_latents"].transpose(1, 2).float()  # b c f h w -> b f c h w
    text = golden["prompt_embeds"].float()
    uncond = golden.get("negative_embeds", text).float()
    clip = denoise(tiny_unet, z0, noise, text, uncond, run["motion_bucket_id"], run["steps"], run["guidance_scale"])
    assert torch.equal(clip[:, 0], z0)
    assert relative_rms(clip[:, 1:] - z0[:, None], golden["final_residual"].transpose(1, 2)) <= 1e-4


def test_clips_of_a_batch_do_not_touch(tiny_unet):
    generator = torch.Generator().manual_seed(4)
    z0, text = torch.randn(2, 4, 6, 6, generator=generator), torch.randn(2, 7, 40, generator=generator)
    uncond, noise = torch.randn(1, 7, 40, generator=generator), torch.randn(2, 3, 4, 6, 6, generator=generator)
    ids = torch.tensor([80, 95])
    together = denoise(tiny_unet, z0, noise, text, uncond, ids, 3, 4.0)
    for i in range(2):
        alone = denoise(tiny_unet, z0[i : i + 1], noise[i : i + 1], text[i : i + 1], uncond, int(ids[i]), 3, 4.0)
        assert relative_rms(together[i], alone[0]) <= 1e-5


def test_guidance_may_lead_away_from_another_motion(tiny_unet):
    """One step is linear in what the network says, so the definition of guidance holds for its results."""
    generator = torch.Generator().manual_seed(5)
    z0, noise = torch.randn(2, 4, 6, 6, generator=generator), torch.randn(2, 3, 4, 6, 6, generator=generator)
    text, uncond = torch.randn(2, 7, 40, generator=generator), torch.randn(1, 7, 40, generator=generator)
    ids = torch.tensor([80, 95])
    cond = denoise(tiny_unet, z0, noise, text, uncond, ids, 1, 1.0)
    still = denoise(tiny_unet, z0, noise, uncond, uncond, 99, 1, 1.0)
    guided = denoise(tiny_unet, z0, noise, text, uncond, ids, 1, 1.4, uncond_motion_id=99)
    assert relative_rms(guided - z0[:, None], still + 1.4 * (cond - still) - z0[:, None]) <= 1e-5
    alike = denoise(tiny_unet, z0[:1], noise[:1], text[:1], uncond, 80, 1, 1.4)
    assert torch.equal(denoise(tiny_unet, z0[:1], noise[:1], text[:1], uncond, 80, 1, 1.4, uncond_motion_id=80), alike)
    assert relative_rms(guided[0], alike[0]) > 1e-4


def test_noise_of_a_seed(tiny_unet):
    z0, text = torch.randn(1, 4, 6, 6), torch.randn(1, 7, 40)

    def run(seed: int, initial_noise: str) -> torch.Tensor:
        return sample(tiny_unet, z0, text, text, 90, 4, 2, 1.0, torch.Generator().manual_seed(seed), initial_noise=initial_noise)

    assert torch.equal(run(1, "dctinit"), run(1, "dctinit"))
    assert not torch.equal(run(1, "dctinit"), run(2, "dctinit"))
    assert not torch.equal(run(1, "dctinit"), run(1, "none"))
    with pytest.raises(InputError, match="choose dctinit, fftinit or none"):
        run(1, "wavelet")


def test_fft_init_by_its_definition():
    """The band of z0's spectrum, the rest the noise's; as many cycles as DCTInit exchanges."""
    generator = torch.Generator().manual_seed(2)
    z0, noise = torch.randn(1, 4, 12, 16, generator=generator), torch.randn(5, 4, 12, 16, generator=generator)
    found = torch.fft.fftn(dct_init(z0, noise, LowPass(0.5, 900, transform="fft")).double(), dim=(0, 2, 3))
    a = torch.tensor([1 - (1e-4 + (0.02 - 1e-4) * t / 999) for t in range(901)], dtype=torch.float64).prod()
    low = torch.fft.fftn(a.sqrt() * z0.double() + (1 - a).sqrt() * noise.double(), dim=(0, 2, 3))
    high = torch.fft.fftn(noise.double(), dim=(0, 2, 3))
    for k in range(12):
        for m in range(16):
            kept = min(k, 12 - k) <= 2 and min(m, 16 - m) <= 3  # (6 - 1) / 2 and (8 - 1) / 2 cycles
            expected = low if kept else high
            assert torch.allclose(found[:, :, k, m], expected[:, :, k, m], atol=1e-4), (k, m)


def test_fft_init_ends_where_dct_init_ends():
    z0, noise = torch.randn(1, 4, 8, 8), torch.randn(3, 4, 8, 8)
    assert torch.allclose(dct_init(z0, noise, LowPass(0.0, transform="fft")), noise, atol=1e-6)
    # at one coefficient both exchange the mean
    fft, dct = (dct_init(z0, noise, LowPass(0.2, transform=transform)) for transform in ("fft", "dct"))
    assert torch.allclose(fft.mean((2, 3)), dct.mean((2, 3)), atol=1e-6)
    ends = [dct_init(z0, noise, LowPass(1.0, transform=transform)) for transform in ("fft", "dct")]
    assert torch.allclose(*ends, atol=1e-6)  # the noised picture
