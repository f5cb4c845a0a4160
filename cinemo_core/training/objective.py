"""What the network learns (paper sec. 3.1, Eq. 3), as pure functions on tensors.

A clip of latents is [b, f, c, h, w], frame 0 the clean z0 of the condition. The other N - 1 frames are denoised: by the
paper their residuals M = z_i - z0, and the network sees cat(z0, M_t + z0). "direct" is the ablation that denoises the
frames themselves: the network sees cat(z0, z_t).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..motion.buckets import LEAST_MOTION_ID, bucket_of_motion_id, motion_id, motion_id_of_ssim

RESIDUAL, DIRECT = "residual", "direct"


class Noisy(NamedTuple):
    """X_t, what the network sees, [b, f, c, h, w]; and the noise that it has to find, [b, f - 1, c, h, w]."""

    frames: Tensor
    noise: Tensor


def to_target(latents: Tensor, prediction: str) -> Tensor:
    """What is denoised, [b, f - 1, c, h, w]: residuals, or the frames themselves."""
    z0, rest = latents[:, :1], latents[:, 1:]
    return rest - z0 if prediction == RESIDUAL else rest


def to_network(z0: Tensor, noisy: Tensor, prediction: str) -> Tensor:
    """X_t from z0 [b, 1, c, h, w] and the noisy target [b, f - 1, c, h, w]."""
    return torch.cat([z0, noisy + z0 if prediction == RESIDUAL else noisy], dim=1)


def to_frames(z0: Tensor, target: Tensor, prediction: str) -> Tensor:
    """A clip [b, f, c, h, w] from z0 and its denoised target: the inverse of `to_target`."""
    return torch.cat([z0, target + z0 if prediction == RESIDUAL else target], dim=1)


def add_noise(latents: Tensor, noise: Tensor, alphas: Tensor, prediction: str) -> Noisy:
    """X_t of a clip: its target noised to `alphas`, the product of (1 - beta) at the timestep of each clip, [b]."""
    alphas = alphas.view(-1, 1, 1, 1, 1).to(latents.dtype)
    noisy = alphas.sqrt() * to_target(latents, prediction) + (1 - alphas).sqrt() * noise
    return Noisy(to_network(latents[:, :1], noisy, prediction), noise)


def loss_weights(alphas: Tensor, min_snr_gamma: float, snr_power: float) -> Tensor:
    """Weight of each clip's loss, [b], by the signal-to-noise ratio of its timestep.

    1, or min(snr, gamma) / snr (arXiv 2303.09556, for noise prediction) where gamma > 0, or snr to -power where power > 0:
    from 0, which weighs every timestep's error of the noise equally, to 1, every timestep's error of the clip.
    """
    snr = alphas / (1 - alphas)
    if min_snr_gamma:
        return snr.clamp(max=min_snr_gamma) / snr
    return snr**-snr_power


def noise_loss(predicted: Tensor, noise: Tensor, weights: Tensor) -> Tensor:
    """Eq. 3: the mean squared error of the noise of the last N - 1 frames; what is predicted for frame 0 has no meaning.

    predicted: [b, f, c, h, w]; noise: [b, f - 1, c, h, w]; weights: [b]. Returns a scalar, in float32.
    """
    error = (predicted[:, 1:].float() - noise.float()).square().mean(dim=(1, 2, 3, 4))
    return (error * weights).mean()


def motion_id_for_training(ssim: float, motion: str) -> int:
    """Network id of a clip of this mean SSIM, clamped to the trained ids 80..99; without motion control always 99."""
    return motion_id(bucket_of_motion_id(motion_id_of_ssim(ssim))) if motion == "ssim" else LEAST_MOTION_ID
