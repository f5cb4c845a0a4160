"""Animates pictures with a checkpoint, many at a time, in plain torch: what the claims are measured on.

The nodes take the same steps, one clip at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ...files.checkpoint import read_state_dict
from ...files.folder import Bundle, read_bundle, read_config
from ...models.cinemo.family import CINEMO
from ...models.recognise import recognise
from ...motion.buckets import SAME_BUCKET, motion_id
from ...training import frozen, network, text
from ...training.export import PREDICTION_TYPES
from ...training.objective import RESIDUAL
from ...training.sampling import CUTOFF, NOISE_LEVEL, denoise, refine

FRAMES = 16


@dataclass(frozen=True)
class Task:
    """One clip to make: picture uint8 [h, w, 3], caption, bucket 0..19, seed of the noise, and how `refine` treats it."""

    image: np.ndarray
    caption: str
    bucket: int
    seed: int
    initial_noise: str = "dctinit"
    cutoff: float = CUTOFF
    noise_level: int = NOISE_LEVEL


@dataclass(frozen=True)
class Animator:
    """A checkpoint ready to sample.

    cfg leads away from the empty text in `negative_bucket`, or in the clip's own bucket where that is SAME_BUCKET.
    prediction: what the UNet was trained for, "residual" or "direct".
    """

    unet: Any
    text_encoder: Any
    tokenizer: frozen.Tokenizer
    vae: Any
    device: torch.device
    steps: int
    cfg: float
    negative_bucket: int
    prediction: str

    def animate(self, tasks: Sequence[Task], at_once: int = 20) -> Iterator[np.ndarray]:
        """A clip uint8 [16, h, w, 3] for each task, in order. A task's clip depends on nothing else in its batch."""
        for start in range(0, len(tasks), at_once):
            yield from self._animate(tasks[start : start + at_once])

    @torch.no_grad()
    def _animate(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        images = torch.from_numpy(np.stack([task.image for task in tasks])).permute(0, 3, 1, 2)
        z0 = frozen.encode(self.vae, images)
        noise = [
            refine(first.cpu(), draw_noise(task.seed, first.shape), task.initial_noise, task.cutoff, task.noise_level)
            for first, task in zip(z0, tasks, strict=True)
        ]
        tokens = self.tokenizer([*(task.caption for task in tasks), ""]).to(self.device)
        context = text.encode(self.text_encoder, tokens)
        ids = torch.tensor([motion_id(task.bucket) for task in tasks], device=self.device)
        uncond_id = None if self.negative_bucket == SAME_BUCKET else motion_id(self.negative_bucket)
        x = torch.stack(noise).to(z0)
        latents = denoise(self.unet, z0, x, context[:-1], context[-1:], ids, self.steps, self.cfg, self.prediction, uncond_id)
        return [frozen.decode(self.vae, clip).permute(0, 2, 3, 1).numpy() for clip in latents]


def draw_noise(seed: int, size: Sequence[int]) -> torch.Tensor:
    return torch.randn(FRAMES - 1, *size, generator=torch.Generator().manual_seed(seed))


def load_animator(folder: Path, device: torch.device, steps: int, cfg: float, negative_bucket: int = SAME_BUCKET) -> Animator:
    """Every part of a checkpoint folder, in float32, and by its scheduler's configuration what its UNet predicts.

    Raises CheckpointError or InputError where a part is missing or does not fit.
    """
    bundle = read_bundle(folder)
    vae = bundle.vae_image or bundle.vae_temporal
    if vae is None or bundle.text_encoder is None:
        raise InputError(f"{folder} has no {'vae' if vae is None else 'text_encoder'}/ folder; give a whole checkpoint.")
    return Animator(
        load_unet(bundle.unet).to(device),
        text.load(bundle.text_encoder).eval().to(device),
        frozen.Tokenizer(str(bundle.tokenizer) if bundle.tokenizer else ""),
        frozen.load_vae(vae).to(device),
        device,
        steps,
        cfg,
        negative_bucket,
        prediction_of(bundle),
    )


def with_unet(animator: Animator, bundle: Bundle) -> Animator:
    """The same text encoder, VAE and settings around another UNet, which was trained with them."""
    return replace(animator, unet=load_unet(bundle.unet).to(animator.device), prediction=prediction_of(bundle))


def prediction_of(bundle: Bundle) -> str:
    """What an export says that its UNet was trained for; a folder that says nothing is as the authors', residual."""
    scheduler = read_config(bundle.scheduler.parent, bundle.scheduler.name) if bundle.scheduler else {}
    found = scheduler.get("prediction_type", PREDICTION_TYPES[RESIDUAL])
    for prediction, prediction_type in PREDICTION_TYPES.items():
        if found == prediction_type:
            return prediction
    known = " or ".join(map(repr, PREDICTION_TYPES.values()))
    raise InputError(f"{bundle.scheduler} has prediction_type {found!r}; a Cinemo is trained for {known}.")


def load_unet(path: Path) -> Any:
    from ...convert import find_unet

    path = find_unet(path)
    _, state_dict, config = recognise(path, read_state_dict(path), CINEMO)
    unet = network.build(config)
    unet.load_state_dict({name: tensor.float() for name, tensor in state_dict.items()})
    return unet.eval()
