"""The schedule against that of the authors' code."""

import pytest
from cinemo_pack.cinemo_core.models.diffusion import trailing_timesteps
from cinemo_pack.cinemo_core.models.dynamicrafter.schedule import Schedule, uniform_timesteps
from cinemo_pack.tests.goldens import load, meta

META = meta("dynamicrafter/schedule")


@pytest.mark.parametrize(("name", "v"), [("base", False), ("zsnr", True)])
def test_alphas(name, v):
    golden = load("dynamicrafter/schedule")[f"{name}.alphas_cumprod_f64"]
    alphas = Schedule(v).alphas_cumprod()
    assert (alphas - golden).abs().max() <= 1e-12
    assert (alphas[-1] == 0) == v


@pytest.mark.parametrize("steps", sorted(map(int, META["timesteps"]["uniform"])))
def test_uniform_timesteps(steps):
    expected = META["timesteps"]["uniform"][str(steps)]
    assert uniform_timesteps(steps) == [t for t in reversed(expected) if t < 1000]


@pytest.mark.parametrize("steps", sorted(map(int, META["timesteps"]["uniform_trailing"])))
def test_trailing_timesteps(steps):
    assert trailing_timesteps(steps) == META["timesteps"]["uniform_trailing"][str(steps)][::-1]


@pytest.mark.parametrize("base", [0.7, 0.3])
def test_scales(base):
    golden = load("dynamicrafter/schedule")[f"scale_arr_{base}"][:1000].double()
    assert (Schedule(True, base).scales() - golden).abs().max() <= 1e-6


@pytest.mark.parametrize("schedule", [Schedule(False), Schedule(True, 0.7), Schedule(True, 0.3)])
def test_sigmas_rise_and_are_finite(schedule):
    sigmas = schedule.sigmas()
    assert sigmas.isfinite().all() and (sigmas.diff() > 0).all()
