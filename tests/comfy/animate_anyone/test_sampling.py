"""Whole runs through ComfyUI's sampling, against those of the recorded pipeline."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone.conditioning import FigureCondition, attach_figure
from cinemo_pack.cinemo_core.comfyui.animate_anyone.pictures import clip_picture, pose_pictures, reference_picture
from cinemo_pack.cinemo_core.comfyui.animate_anyone.reference import make_bank
from cinemo_pack.cinemo_core.comfyui.animate_anyone.sampling import PipelineNoise, reference_sampling, set_betas
from cinemo_pack.cinemo_core.comfyui.animate_anyone.windows import Windows, set_windows
from cinemo_pack.cinemo_core.errors import InputError, SamplingError
from cinemo_pack.cinemo_core.models.animate_anyone.schedule import alphas_cumprod
from cinemo_pack.tests.goldens import load, meta

RUNS = {run["name"]: run for run in meta("animate_anyone/pipeline_tiny_a")["runs"]}
REL_RMS = 1e-4
SCALE = 0.18215  # of the VAE's latents


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt()).item()


def recorded(name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{name}."): t for key, t in load("animate_anyone/pipeline_tiny_a").items() if key.startswith(f"{name}.")}


def conditions(model, run: dict, tensors: dict) -> tuple[list, list]:
    poses = pose_pictures(tensors["pose_images_u8"] / 255, *run["wh"])[None]
    embeds = tensors["image_embeds"][:, None]
    bank = make_bank(model, tensors["ref_latents"] / SCALE, embeds)
    (positive,) = attach_figure(FigureCondition(poses, bank), [[embeds, {}]])
    (negative,) = attach_figure(FigureCondition(poses), [[torch.zeros_like(embeds), {}]])
    return positive, negative


def in_windows(model, run: dict):
    length, overlap, stride = (run.get(f"context_{name}", default) for name, default in (("frames", 24), ("overlap", 4), ("stride", 1)))
    return set_windows(model, Windows(length, overlap, loop=True, stride=stride)) if run["F"] > length else model


@pytest.mark.parametrize("name", RUNS)
def test_the_recorded_runs(tiny, name):
    run, tensors = RUNS[name], recorded(name)
    model = in_windows(tiny, run)
    noise = tensors["initial_noise"][0].transpose(0, 1).contiguous()
    sampler, sigmas = reference_sampling(model, run["steps"])
    with torch.inference_mode():
        positive, negative = conditions(model, run, tensors)
        latent = torch.zeros_like(noise)
        found = comfy.sample.sample_custom(model, noise, run["g"], sampler, sigmas, positive, negative, latent, seed=0)
    expected = tensors["averaged.final_latents" if "averaged.final_latents" in tensors else "final_latents"]  # p3 forgets to divide
    error = relative_error(found, expected[0].transpose(0, 1) / SCALE)
    print(name, error)
    assert error <= REL_RMS


@pytest.mark.parametrize("steps", [4, 20, 25, 30])
def test_the_sampler_alone(tiny, steps):
    """With the recorded analytic v in place of the network."""
    golden = load("animate_anyone/schedule")
    sampler, sigmas = reference_sampling(tiny, steps)
    sampling = tiny.get_model_object("model_sampling")

    def denoise(x: torch.Tensor, sigma: torch.Tensor, **_) -> torch.Tensor:
        state = x / (1 + sigma[0] ** 2) ** 0.5
        v = torch.tanh(0.5 * state + 0.3 * torch.cos(sampling.timestep(sigma[:1]) / 100))
        return sampling.calculate_denoised(sigma, v, x)

    start = golden["stub.initial_noise"][0] * (1 + sigmas[0] ** 2) ** 0.5
    found = sampler.sampler_function(denoise, start, sigmas, **sampler.extra_options)
    error = relative_error(found, golden[f"stub.out.{steps}"][0])
    print(steps, error)
    assert error <= 1e-6


@pytest.mark.parametrize("steps", [10, 20, 25, 50])
def test_simple_has_the_timesteps_of_the_reference(tiny, steps):
    sampling = tiny.get_model_object("model_sampling")
    found = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    assert torch.equal(found, reference_sampling(tiny, steps)[1])


def test_sigmas_of_another_schedule_are_refused(tiny):
    sampler, sigmas = reference_sampling(tiny, 4)
    with pytest.raises(SamplingError, match="got sigmas of another schedule"):
        sampler.sampler_function(None, torch.zeros(1, 4, 2, 2), sigmas * 0.9, **sampler.extra_options)


@pytest.mark.parametrize("betas", ["linear", "scaled_linear"])
def test_both_kinds_of_betas(tiny, betas):
    sigmas = set_betas(tiny, betas).get_model_object("model_sampling").sigmas.double()
    alphas = alphas_cumprod(betas)
    assert (1 / (1 + sigmas**2) - alphas).abs().max() <= 1e-6


def test_the_noise_is_drawn_as_the_pipeline_draws_it():
    found = PipelineNoise(42).generate_noise({"samples": torch.zeros(5, 4, 2, 3)})
    drawn = torch.randn(1, 4, 5, 2, 3, generator=torch.Generator().manual_seed(42))
    assert torch.equal(found, drawn[0].transpose(0, 1))


def test_windows_longer_than_the_table_of_positions_are_refused(tiny):
    with pytest.raises(InputError, match="Windows of 33 frames were asked for, but the motion modules know 32 positions"):
        set_windows(tiny, Windows(33))


def test_a_clip_longer_than_the_table_of_positions_is_refused_with_a_remedy(tiny):
    run, tensors = RUNS["p4"], recorded("p4")
    tensors["pose_images_u8"] = tensors["pose_images_u8"].repeat(2, 1, 1, 1)[:33]
    noise = torch.zeros(33, 4, 4, 4)
    with torch.inference_mode(), pytest.raises(SamplingError, match="33 frames at once, its motion modules know 32 positions; connect"):
        comfy.sample.sample(tiny, noise, 1, 1.0, "euler", "simple", *conditions(tiny, run, tensors), noise, seed=0)


@pytest.mark.parametrize("name", ["p0", "p2", "p4"])
def test_pictures_become_what_the_pipeline_gives_its_networks(name):
    """To the last bit: 8-bit Lanczos and bicubic of PIL."""
    run, tensors = RUNS[name], recorded(name)
    image = tensors["image_u8"][None] / 255
    if "vae_encode_input" in tensors:
        assert torch.allclose(reference_picture(image, *run["wh"]).movedim(-1, 1) * 2 - 1, tensors["vae_encode_input"], atol=1e-6)
        poses = pose_pictures(tensors["pose_images_u8"][:2] / 255, *run["wh"]) / 255
        assert torch.allclose(poses.transpose(0, 1)[None], tensors["pose_guider_input"], atol=1e-6)
        mean, std = (torch.tensor(v) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))
        pixels = ((clip_picture(image, 224) - mean) / std).movedim(-1, 1)[:, :, [0, 111, 223]]
        assert torch.allclose(pixels, tensors["clip_pixels_rows_0_111_223"], atol=1e-5)
    else:
        assert torch.equal(reference_picture(image, *run["wh"]), image)
