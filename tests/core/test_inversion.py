"""DDIM inversion against recorded runs of the authors' code, DDIM's own formula, and its way back."""

from itertools import pairwise

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.inversion import invert, relative_error, resample_frames
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod, ddim_sigmas, ddim_timesteps, sigma_of, vp_scale
from cinemo_pack.tests.goldens import load, meta


def frame_space(predictor, z0, timesteps, sigmas):
    """A noise predictor (x, timestep) of DDIM's own state, as a denoiser of frames at a sigma."""
    timestep_of = dict(zip(sigmas.tolist(), timesteps, strict=True))

    def denoise(frames, sigma):
        residual = frames - z0
        denoised = frames - sigma * predictor(residual * vp_scale(sigma), timestep_of[sigma])
        denoised[:1] = z0
        return denoised

    return denoise


@pytest.mark.parametrize("run", ["stub10", "stub25", "stub50", "stub50_g1"])
def test_golden_runs_with_an_analytic_predictor(run):
    golden = {key.removeprefix(f"{run}."): tensor for key, tensor in load("ddim").items() if key.startswith(f"{run}.")}
    facts = meta("ddim")["runs"][run]
    z0, motion, expected = (golden[name][0].transpose(0, 1) for name in ("base_content", "inversion_input", "inversion_output"))

    def predictor(x, timestep):
        pulled = 0.9 * (timestep / 1000) * x + 0.1 * torch.tanh(x - z0)
        return pulled + 3 * golden["prompt_embeds"].mean() + 0.01 * facts["motion_bucket_id"] * torch.cos(x)

    sigmas = ddim_sigmas(facts["steps"]).flip(0)
    timesteps = [0, *reversed(ddim_timesteps(facts["steps"]))]
    inverted = invert(frame_space(predictor, z0, timesteps, sigmas), torch.cat([z0, z0 + motion]), sigmas)
    assert torch.equal(inverted[:1], z0)
    assert relative_error(inverted[1:] - z0, expected) <= 2e-6


def smooth(x, timestep):
    return 0.9 * (timestep / 1000) * x + 0.1 * torch.tanh(x)


@pytest.fixture
def clip():
    return torch.randn(4, 4, 6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def inverted_noise(clip, steps):
    sigmas = sigma_of(alphas_cumprod())[[*ddim_timesteps(steps), 0]].flip(0)
    timesteps = [0, *reversed(ddim_timesteps(steps))]
    return (invert(frame_space(smooth, clip[:1], timesteps, sigmas), clip, sigmas) - clip[:1])[1:]


@pytest.mark.parametrize("steps", [1, 7, 30, 50, 600, 1000])
def test_it_is_ddims_own_formula(clip, steps):
    """Any number of steps, in DDIM's variance-preserving scale: from a[0] up, the noise taken at the step's target."""
    x = clip[1:] - clip[:1]
    a = alphas_cumprod().double()
    timesteps = [0, *reversed(ddim_timesteps(steps))]
    for source, target in pairwise(timesteps):
        noise = smooth(x, target)
        x = a[target].sqrt() * (x - (1 - a[source]).sqrt() * noise) / a[source].sqrt() + (1 - a[target]).sqrt() * noise
    assert relative_error(inverted_noise(clip, steps), x) <= 1e-12


def test_sampling_brings_the_clip_back_and_more_steps_bring_it_closer(clip):
    motion = clip[1:] - clip[:1]
    errors = []
    for steps in (10, 40, 160, 640):
        x = inverted_noise(clip, steps)
        timesteps = [*ddim_timesteps(steps), 0]
        a = alphas_cumprod().double()
        for source, target in pairwise(timesteps):
            noise = smooth(x, source)
            x = a[target].sqrt() * (x - (1 - a[source]).sqrt() * noise) / a[source].sqrt() + (1 - a[target]).sqrt() * noise
        errors.append(relative_error(x, motion))
    assert errors[-1] < 0.01
    assert all(after < 0.5 * before for before, after in pairwise(errors)), errors


def test_what_the_model_sees(clip):
    """The model is asked at each step's target, and is given what makes it see the state at the step's source."""
    sigmas = ddim_sigmas(10).flip(0)
    seen, reports, counts = [], [], []

    def denoise(frames, sigma):
        seen.append((frames, sigma))
        return frames  # no noise: the state in the variance-exploding scale never changes

    def count(n):
        counts.append(n)
        return range(n)

    out = invert(denoise, clip, sigmas, lambda *report: reports.append(report), count)
    assert counts == [10]
    assert [sigma for _, sigma in seen] == sigmas[1:].tolist()
    motion = (clip - clip[:1]) / vp_scale(sigmas[0].item())
    for (frames, sigma), source in zip(seen, sigmas[:-1].tolist(), strict=True):
        torch.testing.assert_close((frames - clip[:1]) * vp_scale(sigma), motion * vp_scale(source))
    torch.testing.assert_close(out - clip[:1], motion * vp_scale(sigmas[-1].item()))
    for index, (step, frames, sigma, denoised) in enumerate(reports):
        assert (step, sigma) == (index, seen[index][1]) and frames is denoised is seen[index][0]


@pytest.mark.parametrize(
    ("length", "frames", "expected"),
    [
        (5, 5, [0, 1, 2, 3, 4]),
        (9, 5, [0, 2, 4, 6, 8]),
        (10, 4, [0, 3, 6, 9]),
        (7, 3, [0, 3, 6]),
        (100, 2, [0, 99]),
        (3, 5, [0, 1, 1, 2, 2]),
        (2, 6, [0, 0, 0, 1, 1, 1]),
    ],
)
def test_evenly_spaced_frames(length, frames, expected):
    clip = torch.arange(length).view(length, 1, 1)
    assert resample_frames(clip, frames).flatten().tolist() == expected


def test_any_length_keeps_first_last_and_order():
    for length in range(2, 40):
        for frames in range(2, 40):
            picked = resample_frames(torch.arange(length), frames)
            ideal = torch.linspace(0, length - 1, frames)
            assert picked[0] == 0 and picked[-1] == length - 1 and ((picked - ideal).abs() <= 0.5 + 1e-4).all()


@pytest.mark.parametrize("length", [0, 1])
def test_one_image_has_no_motion(length):
    with pytest.raises(InputError, match=rf"has {length} frame\(s\).* connect a video of 2 or more frames\.$"):
        resample_frames(torch.zeros(length, 3), 4)


def test_relative_error():
    assert relative_error(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0])) == 0
    assert relative_error(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0])) == 1
    assert relative_error(torch.tensor([3.0, 9.0]), torch.tensor([3.0, 4.0])) == pytest.approx(1)
