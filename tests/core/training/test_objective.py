"""The objective against the equations of the paper, written out frame by frame."""

import math

import pytest
import torch
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod
from cinemo_pack.cinemo_core.training.objective import add_noise, loss_weights, motion_id_for_training, noise_loss, to_frames, to_target


@pytest.fixture
def clip():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, 4, 3, 3, generator=generator), torch.randn(2, 4, 4, 3, 3, generator=generator)


@pytest.mark.parametrize("timesteps", [(0, 999), (17, 500)])
def test_residual_frames_by_the_paper(clip, timesteps):
    """X_t = cat(z1, M_t + z1) with M_t = sqrt(a) (z_i - z1) + sqrt(1 - a) eps_i, a the product of (1 - beta)."""
    latents, noise = clip
    frames = add_noise(latents, noise, alphas_cumprod()[list(timesteps)], "residual").frames
    betas = [1e-4 + (0.02 - 1e-4) * t / 999 for t in range(1000)]
    for b, t in enumerate(timesteps):
        a = math.prod(1 - beta for beta in betas[: t + 1])
        z1 = latents[b, 0].double()
        assert torch.equal(frames[b, 0], latents[b, 0])
        for i in range(1, 5):
            expected = math.sqrt(a) * (latents[b, i].double() - z1) + math.sqrt(1 - a) * noise[b, i - 1].double() + z1
            assert torch.allclose(frames[b, i].double(), expected, atol=1e-5)


def test_direct_frames_are_noised_themselves(clip):
    latents, noise = clip
    alphas = torch.tensor([0.3, 0.8])
    frames = add_noise(latents, noise, alphas, "direct").frames
    assert torch.equal(frames[:, 0], latents[:, 0])
    expected = 0.3**0.5 * latents[0, 2] + 0.7**0.5 * noise[0, 1]
    assert torch.allclose(frames[0, 2], expected, atol=1e-6)


def test_direct_and_residual_differ_only_by_the_first_frame(clip):
    """With a still picture of zeros as condition, both are the same."""
    latents, noise = clip
    latents[:, 0] = 0
    alphas = torch.tensor([0.3, 0.8])
    assert torch.equal(add_noise(latents, noise, alphas, "direct").frames, add_noise(latents, noise, alphas, "residual").frames)


@pytest.mark.parametrize("prediction", ["residual", "direct"])
def test_targets_lead_back_to_the_clip(clip, prediction):
    latents, _ = clip
    assert torch.allclose(to_frames(latents[:, :1], to_target(latents, prediction), prediction), latents, atol=1e-6)


def test_the_loss_leaves_frame_0_out(clip):
    latents, noise = clip
    predicted = torch.cat([latents[:, :1], noise + 0.5], dim=1)
    assert noise_loss(predicted, noise, torch.ones(2)).item() == pytest.approx(0.25)
    predicted[:, 0] = 1e6
    assert noise_loss(predicted, noise, torch.ones(2)).item() == pytest.approx(0.25)
    assert noise_loss(predicted, noise, torch.tensor([1.0, 3.0])).item() == pytest.approx(0.5)


def test_weights_by_the_signal_to_noise_ratio():
    alphas = torch.tensor([0.999, 0.9, 0.5, 0.01], dtype=torch.float64)
    snr = [0.999 / 0.001, 0.9 / 0.1, 1.0, 0.01 / 0.99]
    assert loss_weights(alphas, 0.0, 0.0).tolist() == [1.0] * 4
    assert loss_weights(alphas, 5.0, 0.0).tolist() == pytest.approx([min(s, 5.0) / s for s in snr])
    assert loss_weights(alphas, 0.0, 0.5).tolist() == pytest.approx([s**-0.5 for s in snr])


def test_at_power_1_the_loss_is_the_error_of_the_clip(clip):
    """Eq. 3's noise and the residual that it gives differ by the signal-to-noise ratio."""
    latents, noise = clip
    alphas = torch.tensor([0.7, 0.02])
    noisy = add_noise(latents, noise, alphas, "residual").frames
    predicted = torch.cat([latents[:, :1], noise + 0.1], dim=1)
    a = alphas.view(-1, 1, 1, 1, 1)
    residual = (noisy[:, 1:] - latents[:, :1] - (1 - a).sqrt() * predicted[:, 1:]) / a.sqrt()
    error = (residual - (latents[:, 1:] - latents[:, :1])).square().mean()
    assert noise_loss(predicted, noise, loss_weights(alphas, 0.0, 1.0)).item() == pytest.approx(error.item(), rel=1e-4)


@pytest.mark.parametrize(("ssim", "network_id"), [(1.0, 99), (0.994, 99), (0.93, 93), (0.8, 80), (0.3, 80), (-0.2, 80)])
def test_motion_ids_are_those_of_inference(ssim, network_id):
    assert motion_id_for_training(ssim, "ssim") == network_id
    assert motion_id_for_training(ssim, "none") == 99
