"""Noise schedule and DDIM steps, against the goldens, diffusers and float64."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.schedule import (
    NUM_TRAIN_TIMESTEPS,
    alphas_cumprod,
    ddim_sigmas,
    ddim_timesteps,
    sigma_of,
    vp_scale,
)
from cinemo_pack.tests.goldens import load, meta

ONE_UNIT = torch.finfo(torch.float32).eps  # in the last place of a float32, relative


@pytest.fixture(scope="module")
def diffusers_ddim():
    import diffusers

    return diffusers.DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def test_alphas_are_those_of_the_reference():
    alphas = alphas_cumprod()
    torch.testing.assert_close(alphas, load("dctinit")["scheduler.alphas_cumprod"], rtol=ONE_UNIT, atol=0)
    for timestep, value in meta("dctinit")["alphas_cumprod_points"].items():
        assert alphas[int(timestep)].item() == pytest.approx(value, rel=ONE_UNIT)


def test_alphas_against_float64():
    exact = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    relative = ((alphas_cumprod().double() - exact) / exact).abs().max()
    assert relative <= meta("dctinit")["alphas_cumprod_float32_vs_float64_max_rel"] + ONE_UNIT


@pytest.mark.parametrize("run", ["s7", "s10", "s10_nocfg_odd", "s50", "s50_f15", "chain"])
def test_timesteps_of_the_golden_runs(run):
    assert ddim_timesteps(meta("ddim")["runs"][run]["steps"]) == load("ddim")[f"{run}.timesteps"].tolist()


@pytest.mark.parametrize("run", ["stub10", "stub25", "stub50", "stub50_g1"])
def test_golden_runs_with_an_analytic_predictor(run):
    """Whole runs of the authors' pipeline: Euler steps over these sigmas, from the same noise to the same residual."""
    golden = {key.removeprefix(f"{run}."): tensor for key, tensor in load("ddim").items() if key.startswith(f"{run}.")}
    facts = meta("ddim")["runs"][run]

    def predicted(x: torch.Tensor, timestep: int, text: torch.Tensor) -> torch.Tensor:
        pulled = 0.9 * (timestep / 1000) * x + 0.1 * torch.tanh(x - golden["base_content"])
        return pulled + 3 * text.mean() + 0.01 * facts["motion_bucket_id"] * torch.cos(x)

    sigmas = ddim_sigmas(facts["steps"])
    state = golden["initial_latents"] / vp_scale(sigmas[0])
    for timestep, sigma, target in zip(ddim_timesteps(facts["steps"]), sigmas[:-1], sigmas[1:], strict=True):
        x = state * vp_scale(sigma)
        noise = predicted(x, timestep, golden["prompt_embeds"])
        if facts["guidance_scale"] > 1:
            without = predicted(x, timestep, golden["negative_embeds"])
            noise = without + facts["guidance_scale"] * (noise - without)
        state = state + noise * (target - sigma)
    result = state * vp_scale(sigmas[-1])
    assert (result - golden["final_residual"]).norm() / golden["final_residual"].norm() <= 2e-6


def test_timesteps_equal_diffusers_for_every_step_count(diffusers_ddim):
    for steps in range(1, NUM_TRAIN_TIMESTEPS):
        diffusers_ddim.set_timesteps(steps)
        assert ddim_timesteps(steps) == diffusers_ddim.timesteps.tolist(), steps


def test_a_thousand_steps_leave_out_the_timestep_past_the_table(diffusers_ddim):
    diffusers_ddim.set_timesteps(1000)
    assert diffusers_ddim.timesteps.tolist() == [1000, *ddim_timesteps(1000)]


@pytest.mark.parametrize("steps", [0, -1, 1001, 10.0, True, "10", None])
def test_step_counts_out_of_range(steps):
    with pytest.raises(InputError, match="1 to 1000"):
        ddim_timesteps(steps)


def test_sigmas_against_float64():
    exact = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    exact = ((1 - exact) / exact).sqrt()
    sigmas = ddim_sigmas(50)
    assert sigmas.shape == (51,) and sigmas.dtype == torch.float32
    # 1 - a loses digits as a nears 1, and the reference's a is float32: half a unit in its last place is 3e-4 of 1 - a[0].
    expected = exact[[*range(981, 0, -20), 0]]
    assert ((sigmas.double() - expected) / expected).abs().max() < 2e-4
    assert ((sigmas.double() - expected) / expected)[:40].abs().max() < 1e-6


def test_sigma_and_scale_undo_each_other():
    alphas = alphas_cumprod()
    sigmas = sigma_of(alphas)
    assert sigmas.dtype == torch.float64
    assert torch.allclose(vp_scale(sigmas), alphas.double().sqrt(), rtol=1e-14, atol=0)
    assert vp_scale(0.0) == 1.0


def test_every_step_count_gives_strictly_decreasing_sigmas():
    last = sigma_of(alphas_cumprod())[0].float()
    for steps in range(1, NUM_TRAIN_TIMESTEPS + 1):
        sigmas = ddim_sigmas(steps)
        assert len(sigmas) == min(steps, 999) + 1
        assert sigmas[-1] == last and (sigmas.diff() < 0).all()


def test_euler_on_these_sigmas_is_the_reference_ddim(diffusers_ddim):
    """Analytic noise prediction, so that only the schedule counts; float64 on both sides."""
    noise = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def predicted(x: torch.Tensor, timestep: int) -> torch.Tensor:
        return 0.9 * (timestep / 1000) * x + 0.1 * torch.tanh(x)

    for steps in (1, 7, 30, 50, 600):
        x = noise
        diffusers_ddim.set_timesteps(steps)
        for timestep in diffusers_ddim.timesteps.tolist():
            x = diffusers_ddim.step(predicted(x, timestep), timestep, x).prev_sample
        table = sigma_of(alphas_cumprod())
        sigmas = table[[*ddim_timesteps(steps), 0]]
        state = noise / vp_scale(sigmas[0])
        for timestep, sigma, target in zip(ddim_timesteps(steps), sigmas[:-1], sigmas[1:], strict=True):
            state = state + predicted(state * vp_scale(sigma), timestep) * (target - sigma)
        result = state * vp_scale(sigmas[-1])
        assert (result - x).norm() / x.norm() < 2e-6, steps


def test_table_replaces_the_schedule():
    table = torch.arange(1000, dtype=torch.float64) + 1
    assert ddim_sigmas(10, table=table).tolist() == [t + 1.0 for t in (901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0)]
    assert torch.equal(ddim_sigmas(50, table=sigma_of(alphas_cumprod())), ddim_sigmas(50))
    with pytest.raises(InputError, match=r"\[4000\]"):
        ddim_sigmas(10, table=torch.ones(4000))


def test_denoise_keeps_the_last_steps_of_a_longer_run():
    assert torch.equal(ddim_sigmas(20, denoise=0.5), ddim_sigmas(40)[-21:])
    assert torch.equal(ddim_sigmas(7, denoise=0.3), ddim_sigmas(23)[-8:])
    assert ddim_sigmas(20, denoise=0.0).tolist() == []


def test_every_legal_denoise_works_and_keeps_its_strength():
    full = sigma_of(alphas_cumprod()).float()
    for steps in (1, 2, 20, 50, 500, 999, 1000):
        for percent in range(1, 101):
            sigmas = ddim_sigmas(steps, denoise=percent / 100)
            assert 2 <= len(sigmas) <= steps + 1 and (sigmas.diff() < 0).all()
            if steps / (percent / 100) > 1001:
                assert sigmas[0] == full[min(10 * percent, 999)]
    assert len(ddim_sigmas(50, denoise=1e-300)) == 2


@pytest.mark.parametrize("denoise", [-0.01, 1.01, float("nan"), float("inf")])
def test_denoise_out_of_range(denoise):
    with pytest.raises(InputError, match="Denoise"):
        ddim_sigmas(10, denoise=denoise)
