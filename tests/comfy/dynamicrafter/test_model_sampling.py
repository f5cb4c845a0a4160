"""The schedule in ComfyUI's terms against its definition: x = sqrt(a) s x0 + sqrt(1 - a) noise, v = sqrt(a) noise - sqrt(1 - a) s x0."""

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.model_sampling import DynamiCrafterSampling
from cinemo_pack.cinemo_core.models.dynamicrafter.schedule import TIMESTEPS, Schedule

LAST = TIMESTEPS - 1


@pytest.mark.parametrize("timestep", [0, 10, 200, 399, 400, 700, LAST - 1, LAST])
@pytest.mark.parametrize("schedule", [Schedule(False), Schedule(True, 0.7), Schedule(True, 0.3)], ids=["256", "512", "1024"])
def test_input_and_denoised_at_every_kind_of_timestep(schedule, timestep):
    sampling = DynamiCrafterSampling(schedule)
    sigma = sampling.sigmas[timestep : timestep + 1].repeat(3)
    assert sampling.timestep(sigma).tolist() == [timestep] * 3
    alpha, scale = schedule.alphas_cumprod()[timestep], schedule.scales()[timestep]
    generator = torch.Generator().manual_seed(timestep)
    x0, noise = torch.randn(2, 3, 4, 2, 2, generator=generator, dtype=torch.float64)

    x = alpha.sqrt() * scale * x0 + (1 - alpha).sqrt() * noise
    signal = x0 if alpha else 0 * x0  # without signal the state is noise alone
    y = (signal + sampling.sigmas[timestep].double() * noise).float()
    output = alpha.sqrt() * noise - (1 - alpha).sqrt() * scale * x0 if schedule.v else noise

    assert (sampling.calculate_input(sigma, y) - x).abs().max() <= 2e-6
    assert (sampling.calculate_denoised(sigma, output.float(), y) - x0).abs().max() <= 1e-5


@pytest.mark.parametrize("schedule", [Schedule(False), Schedule(True, 0.7)], ids=["256", "512"])
def test_sampling_starts_from_noise_of_unit_variance_in_the_authors_terms(schedule):
    sampling = DynamiCrafterSampling(schedule)
    noise = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    start = sampling.noise_scaling(sampling.sigma_max, noise, torch.zeros_like(noise), max_denoise=True)
    assert (sampling.calculate_input(sampling.sigma_max.repeat(3), start) - noise).abs().max() <= 1e-5


def test_part_of_the_noise_keeps_the_clip():
    sampling = DynamiCrafterSampling(Schedule(True, 0.3))
    clip, noise = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    sigma = sampling.sigmas[300]
    assert (sampling.noise_scaling(sigma, noise.clone(), clip) - (noise * sigma + clip)).abs().max() <= 1e-5
