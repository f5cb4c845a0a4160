"""The residual KSampler against recorded runs of the authors' own sampling loop."""

import comfy.latent_formats
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import REFERENCE_SCHEDULER, Sampling, sample_clip
from cinemo_pack.cinemo_core.models.cinemo.unet import CinemoUNet
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.tests.goldens import load, meta

from .conftest import make_clip, relative_rms

RUNS = {name: run for name, run in meta("ddim")["runs"].items() if isinstance(run, dict)}
SCALE = comfy.latent_formats.SD15().scale_factor


class GivenNoise:
    """A NOISE that gives recorded residual noise, as one from an inverted clip would; frame 0 gets zeros."""

    seed = 0

    def __init__(self, residual_noise: torch.Tensor):
        self.noise = torch.cat([torch.zeros_like(residual_noise[:1]), residual_noise])

    def generate_noise(self, input_latent):
        return self.noise.clone()


def run(model, name: str, noise=None):
    """Sample one recorded run; returns the frames and the residual in the network's scale, and the recorded tensors."""
    golden = {key.removeprefix(f"{name}."): value for key, value in load("ddim").items() if key.startswith(f"{name}.")}
    settings = RUNS[name]
    initial = golden["initial_latents"][0].transpose(0, 1)  # 1 c f h w -> f c h w
    text = golden["prompt_embeds"]
    clip = make_clip(
        golden["base_content"][:, :, 0], initial.shape[0] + 1, text, golden.get("negative_embeds", text), settings["motion_bucket_id"]
    )
    noise = GivenNoise(initial) if noise is None else noise(clip, golden)
    frames, residual = sample_clip(
        model,
        clip.positive,
        clip.negative,
        {"samples": clip.samples},
        Sampling(0, settings["steps"], settings["guidance_scale"], "ddim", REFERENCE_SCHEDULER),
        noise=noise,
    )
    assert torch.equal(frames["samples"][:1], clip.samples[:1])
    return frames["samples"] * SCALE, residual["samples"][1:] * SCALE, golden


@pytest.mark.parametrize("name", [name for name in RUNS if not name.startswith("stub")])
def test_network_runs(model, name):
    frames, residual, golden = run(model, name)
    assert relative_rms(residual, golden["final_residual"][0].transpose(0, 1)) <= 1e-4
    expected = golden["final_residual"][0].transpose(0, 1) + golden["base_content"][:, :, 0]
    assert relative_rms(frames[1:], expected) <= 1e-4


def test_dctinit_chain(model):
    """The whole chain: the recorded plain noise refined by our DCTInit, then sampled."""

    def refined(clip, golden):
        return DCTInitNoise(clip.samples, GivenNoise(golden["noise"][0].transpose(0, 1)), LowPass(0.23, 975))

    _, residual, golden = run(model, "chain", refined)
    assert relative_rms(residual, golden["final_residual"][0].transpose(0, 1)) <= 1e-4


def stub_noise(self, x, timesteps, context, motion_ids, control=None, transformer_options={}):
    """The analytic noise predictor of the recorded stub runs, in place of the network; on the residual r, as recorded."""
    x = x.unflatten(0, (motion_ids.shape[0], -1))  # b f c h w, frame 0 is z0
    z0 = x[:, :1]
    r = x - z0
    t, text, motion = (v.view(-1, 1, 1, 1, 1) for v in (timesteps[:: x.shape[1]], context.mean(dim=(1, 2)), motion_ids))
    noise = 0.9 * (t / 1000) * r + 0.1 * torch.tanh(r - z0) + 3 * text + 0.01 * motion * torch.cos(r)
    return noise.flatten(0, 1)


@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("stub")])
def test_stub_runs(model, monkeypatch, name):
    """Runs with an analytic noise predictor isolate the sampler: what remains is its arithmetic."""
    monkeypatch.setattr(CinemoUNet, "forward", stub_noise)
    _, residual, golden = run(model, name)
    assert relative_rms(residual, golden["final_residual"][0].transpose(0, 1)) <= 2e-6
