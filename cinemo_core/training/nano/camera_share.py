"""How much of a camera move one prediction explains: what nano's UNet is trained for, and watched by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from ...models.cinemo.schedule import alphas_cumprod
from .. import objective, text
from ..frozen import Tokenizer
from .camera_clips import FRAMES, CameraClip, Still, clip_of
from .moves import WAYS, Move, latent_clip
from .procedural.dice import Dice

TIMESTEPS = (981, 900, 700, 500, 300)
AMOUNTS = (0.08, 0.16, 0.24)


class Predictor(NamedTuple):
    """The parts of a Cinemo that predict noise from latents."""

    unet: Any
    text_encoder: Any
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Watched:
    """Which moves are watched. size: side of a clip in latents; amounts: how far they go, as a share of it."""

    size: int
    clips: int
    amounts: tuple[float, ...] = AMOUNTS


def predict(unet: Any, frames: Tensor, timesteps: Tensor, motion_ids: Tensor, context: Tensor) -> Tensor:
    """The noise of all frames but the first, [b, f - 1, 4, h, w]."""
    count = frames.shape[1]
    return unet(frames.flatten(0, 1), timesteps.repeat_interleave(count), context, motion_ids).unflatten(0, (-1, count))[:, 1:]


@torch.no_grad()
def explained(predictor: Predictor, stills: Sequence[Still], watched: Watched) -> dict[str, float]:
    """Share of the residual's energy that one prediction explains, by timestep, on moves over stills that no training saw.

    1 - squared error / energy, of all clips together; caption and measured bucket are given. "bound" is what the first frame,
    moved as asked with its borders repeated, explains: more than that has to be invented.
    """
    clips = watched_clips(list(stills), watched)
    energy = sum((clip.latents[1:] - clip.latents[:1]).square().sum().item() for clip in clips)
    missed = sum((warped(clip) - clip.latents).square().sum().item() for clip in clips)
    found = {"bound": round(1 - missed / energy, 4)}
    for t in TIMESTEPS:
        missed = sum(error_of(predictor, clip, t, seed) for seed, clip in enumerate(clips))
        found[str(t)] = round(1 - missed / energy, 4)
    return found


def watched_clips(stills: list[Still], watched: Watched) -> list[CameraClip]:
    """Every way of the camera in turn, over the stills that are large enough for it. Raises InputError where none is."""
    clips: list[CameraClip] = []
    dice = Dice(0)
    left_out = 0
    while len(clips) < watched.clips:
        if left_out == len(stills):
            raise InputError(f"No picture is large enough for a camera move over {watched.size} latents; give larger ones.")
        still, caption = stills[len(clips) % len(stills)], tuple(WAYS)[len(clips) % len(WAYS)]
        amount = watched.amounts[len(clips) // len(WAYS) % len(watched.amounts)]
        move = Move(caption, 2 * amount if "zooms" in caption else amount)
        clip = clip_of(dice, still, move, watched.size, watched.size, FRAMES)
        if clip is None:
            stills = stills[1:] + stills[:1]
            left_out += 1
            continue
        left_out = 0
        clips.append(clip)
    return clips


def error_of(predictor: Predictor, clip: CameraClip, timestep: int, seed: int) -> float:
    """Squared error of the residual that follows from the noise that is predicted, summed. Only the networks may be on a GPU."""
    latents, device = clip.latents[None], next(predictor.unet.parameters()).device
    noise = torch.randn(latents[:, 1:].shape, generator=torch.Generator().manual_seed(seed))
    alpha = alphas_cumprod()[timestep][None]
    noisy = objective.add_noise(latents, noise, alpha, objective.RESIDUAL)
    ids = torch.tensor([objective.motion_id_for_training(clip.ssim, "ssim")])
    context = text.encode(predictor.text_encoder, predictor.tokenizer([clip.caption]).to(device))
    predicted = predict(predictor.unet, noisy.frames.to(device), torch.tensor([timestep], device=device), ids.to(device), context).cpu()
    residual = latents[:, 1:] - latents[:, :1]
    x = noisy.frames[:, 1:] - latents[:, :1]
    guess = (x - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
    return float((guess - residual).square().sum())


def warped(clip: CameraClip) -> Tensor:
    """The first frame of a clip, moved as the clip is."""
    boxes = Move(clip.caption, clip.amount).boxes((0.0, 0.0, 1.0, 1.0), len(clip.latents))
    return latent_clip(clip.latents[0], boxes, *clip.latents.shape[:1:-1])
