"""Whole runs of the recorded pipeline, from its noise to its latents, and its interpolation of latents."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.animate_anyone.attention import Guides
from cinemo_pack.cinemo_core.models.animate_anyone.ddim import sample
from cinemo_pack.cinemo_core.models.animate_anyone.interpolation import interpolate
from cinemo_pack.cinemo_core.models.animate_anyone.schedule import alphas_cumprod, reference_steps
from cinemo_pack.cinemo_core.models.animate_anyone.windows import average, looped_windows
from cinemo_pack.tests.goldens import load, meta

META = meta("animate_anyone/pipeline_tiny_a")
RUNS = {run["name"]: run for run in META["runs"]}
REL_RMS = 1e-4
SCALE = 0.18215  # of the VAE's latents


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt()).item()


@pytest.mark.parametrize("name", RUNS)
def test_run(tiny, name):
    run, tensors = RUNS[name], load("animate_anyone/pipeline_tiny_a")
    width, height = run["wh"]
    steps = reference_steps(run["steps"])
    pictures = tensors[f"{name}.pose_images_u8"].permute(0, 3, 1, 2)
    pose = tiny.unet.guide([resized(pictures, width, height) / 255])
    embeds = tensors[f"{name}.image_embeds"][:, None]
    bank = tiny.reference_net(tensors[f"{name}.ref_latents"], embeds)
    windows = looped_windows(run["F"], run.get("context_frames", 24), run.get("context_overlap", 4), run.get("context_stride", 1))
    assert windows == run["windows"]

    def evaluate(x: torch.Tensor, timestep: int, window: list[int]) -> torch.Tensor:
        timesteps = torch.full((len(window),), float(timestep))
        cond = tiny.unet(x[window], timesteps, embeds, Guides(bank, pose[window]), transformer_options={})
        if run["g"] <= 1:
            return cond
        uncond = tiny.unet(x[window], timesteps, torch.zeros_like(embeds), Guides(pose=pose[window]), transformer_options={})
        return uncond + run["g"] * (cond - uncond)

    def predict(x: torch.Tensor, i: int) -> torch.Tensor:
        return average([evaluate(x, steps[i][0], window) for window in windows], windows, run["F"])

    noise = tensors[f"{name}.initial_noise"][0].transpose(0, 1)  # b c f h w -> f c h w
    recorded = f"{name}.averaged" if run["g"] <= 1 and len(windows) > 1 else name  # the pipeline forgets to divide there
    if recorded == name:
        assert relative_error(predict(noise, 0), tensors[f"{name}.step0.model_output"][0].transpose(0, 1)) <= REL_RMS
    found = sample(predict, noise, steps, alphas_cumprod().float())
    error = relative_error(found, tensors[f"{recorded}.final_latents"][0].transpose(0, 1))
    print(name, error)
    assert error <= REL_RMS
    if recorded == name:
        more = interpolate(found, run.get("interpolation_factor", 1), "linear")
        assert relative_error(more / SCALE, tensors[f"{name}.vae_decode_input"]) <= REL_RMS


def resized(pictures: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """uint8 [f, 3, h, w] -> float 0..255, as PIL's Lanczos of 8-bit pictures gives them."""
    import numpy as np
    from PIL import Image

    rows = [Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.LANCZOS) for picture in pictures]
    return torch.from_numpy(np.stack([np.asarray(row) for row in rows])).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    ("source", "golden", "factor", "method"),
    [
        ("interpolate.in", "interpolate.linear.factor3", 3, "linear"),
        ("interpolate.in", "interpolate.slerp.factor3", 3, "slerp"),
        ("interpolate.near_parallel.in", "interpolate.near_parallel.slerp.factor2", 2, "slerp"),
    ],
)
def test_interpolation(source, golden, factor, method):
    tensors = load("animate_anyone/pipeline_tiny_a")
    found = interpolate(tensors[source][0].transpose(0, 1), factor, method)
    assert relative_error(found, tensors[golden][0].transpose(0, 1)) <= 1e-6


def test_an_interpolation_that_cannot_be_done_is_refused():
    with pytest.raises(InputError, match="The interpolation is 'cubic'; choose one of linear, slerp"):
        interpolate(torch.zeros(2, 1, 1, 1), 2, "cubic")
    with pytest.raises(InputError, match="The interpolation factor is 0; choose 1"):
        interpolate(torch.zeros(2, 1, 1, 1), 0)
