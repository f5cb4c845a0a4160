"""Sampling, with an analytic predictor, against recorded runs of the authors' sampler."""

import pytest
import torch
from cinemo_pack.cinemo_core.models.diffusion import trailing_timesteps
from cinemo_pack.cinemo_core.models.dynamicrafter import guidance
from cinemo_pack.cinemo_core.models.dynamicrafter.ddim import FINAL_TIMESTEP, Level, sample
from cinemo_pack.cinemo_core.models.dynamicrafter.schedule import Schedule, uniform_timesteps
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.rule import normal

META = meta("dynamicrafter/ddim_stub")
RUNS = {run["name"]: run for run in META["runs"]}
BASES = {"256": 1.0, "512": 0.7, "1024": 0.3}
OFFSETS = {"cond": 0.05, "uncond": -0.02, "image": 0.01}


def predictor(x: torch.Tensor, t: int, k: float) -> torch.Tensor:
    """x: [f, c, h, w]. The stand-in for a network that the runs were recorded with."""
    return 0.7 * x + 0.25 * torch.tanh(x.roll(1, 0)) + k * (1 + t / 1000) * (1 + x.roll(1, 3))


def levels_of(schedule: Schedule, timesteps: list[int]) -> list[Level]:
    """Those of the timesteps, in float32 as the authors keep them, then where their last step ends, at the scale of that step."""
    alphas, scales = schedule.alphas_cumprod().float().tolist(), schedule.scales().float().tolist()
    return [*(Level(alphas[t], scales[t]) for t in timesteps), Level(alphas[FINAL_TIMESTEP], scales[timesteps[-1]])]


@pytest.mark.parametrize("name", RUNS)
def test_run(name):
    run, tensors = RUNS[name], load("dynamicrafter/ddim_stub")
    v = run["prediction"] == "v"
    schedule = Schedule(v, BASES.get(run["setting"], 1.0))
    spacing = trailing_timesteps if run["timestep_spacing"] == "uniform_trailing" else uniform_timesteps
    timesteps = spacing(run["steps_requested"])
    assert timesteps == run["timesteps"]
    levels = levels_of(schedule, timesteps)

    def guided(x: torch.Tensor, t: int) -> torch.Tensor:
        out = {name: predictor(x, t, k) for name, k in OFFSETS.items()}
        if run["cfg_img"] is None:
            both = guidance.guide(out["uncond"], out["cond"], run["cfg"])
        else:
            both = guidance.guide_text_and_image(out["uncond"], out["image"], out["cond"], run["cfg"], run["cfg_img"])
        return guidance.rescale(both, out["cond"], run["guidance_rescale"]) if run["guidance_rescale"] else both

    def predict(y: torch.Tensor, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        level = levels[i]
        x = y * level.signal if level.alpha else y
        out, signal, noise = guided(x, timesteps[i]), level.alpha**0.5, (1 - level.alpha) ** 0.5
        x0, eps = (signal * x - noise * out, signal * out + noise * x) if v else ((x - noise * out) / signal, out)
        return x0 / level.scale, eps

    def fresh(i: int) -> torch.Tensor:
        return normal(f"ddim.{name}.noise.{i}", run["shape"], META["input_seed_constant"]).float()[0].transpose(0, 1)

    x_T = normal(f"ddim.{name}.x_T", run["shape"], META["input_seed_constant"]).float()[0].transpose(0, 1)  # f c h w
    start = x_T / levels[0].signal if levels[0].alpha else x_T
    y = sample(predict, start, levels, run["eta"], fresh)
    expected = tensors[f"{name}.final"][0].transpose(0, 1)
    error = y * levels[-1].signal - expected
    print(name, (error.square().mean().sqrt() / expected.square().mean().sqrt()).item())
    assert error.square().mean().sqrt() <= 1e-6 * expected.square().mean().sqrt()
