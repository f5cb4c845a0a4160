"""What a training step is fed: examples by position, and everything that is drawn at random for them.

Position p of a run belongs to one clip and one seed, whatever process or worker asks for it and after however many
restarts. So a run resumes exactly, and the number of processes only changes who does the work.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..models.cinemo.schedule import NUM_TRAIN_TIMESTEPS
from .config import Objective
from .latents import Measured
from .objective import motion_id_for_training
from .seeds import number

NOISY = NUM_TRAIN_TIMESTEPS * 3 // 4  # from this timestep on, X_t does not yet show the motion; only the caption says it


class Example(NamedTuple):
    """One clip as a step sees it. clip: latents, float32 [f, 4, h, w], or pixels, uint8 [f, 3, h, w]; noise: [f - 1, 4, h, w]."""

    clip: Tensor
    noise: Tensor
    timestep: int
    motion_id: int
    caption: str


class Batch(NamedTuple):
    """Examples together. clip: [b, f, c, h, w]; noise: [b, f - 1, 4, h, w]; timesteps, motion_ids: [b]; tokens: [b, 77]."""

    clip: Tensor
    noise: Tensor
    timesteps: Tensor
    motion_ids: Tensor
    tokens: Tensor


class Order:
    """The clip at each position: every epoch visits each of `count` clips once, in an order of its own.

    The order of an epoch is torch's permutation of a generator seeded for it, so it is the same after any restart. That
    of the epoch last asked for is kept, 8 bytes a clip.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.epoch, self.permutation = -1, torch.empty(0, dtype=torch.int64)

    def __getitem__(self, position: int) -> int:
        epoch, index = divmod(position, self.count)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(number(self.seed, "shuffle", epoch))
            self.epoch, self.permutation = epoch, torch.randperm(self.count, generator=generator)
        return int(self.permutation[index])


class Examples(torch.utils.data.Dataset):
    """The example of each position of a run; `clips` are latents or pixels with their SSIM, by number."""

    def __init__(self, clips, objective: Objective, latent_size: tuple[int, ...], seed: int, positions: int) -> None:
        """latent_size: (f, 4, h, w); positions: how many the whole run has."""
        self.clips, self.objective, self.latent_size = clips, objective, latent_size
        self.seed, self.positions = seed, positions
        self.order = Order(len(clips), seed)

    def __len__(self) -> int:
        return self.positions

    def __getitem__(self, position: int) -> Example:
        clip: Measured = self.clips.clip(self.order[position], number(self.seed, "draw", position))
        generator = torch.Generator().manual_seed(number(self.seed, "example", position))
        frames, *size = self.latent_size
        noise = torch.randn(frames - 1, *size, generator=generator)
        if self.objective.noise_offset:
            noise += self.objective.noise_offset * torch.randn(frames - 1, size[0], 1, 1, generator=generator)
        timestep = int(torch.randint(NUM_TRAIN_TIMESTEPS, (), generator=generator))
        dropped = float(torch.rand((), generator=generator)) < self.objective.text_dropout
        if float(torch.rand((), generator=generator)) < self.objective.high_noise:
            timestep = NOISY + timestep * (NUM_TRAIN_TIMESTEPS - NOISY) // NUM_TRAIN_TIMESTEPS
        return Example(
            clip.clip, noise, timestep, motion_id_for_training(clip.ssim, self.objective.motion), "" if dropped else clip.caption
        )


class Positions(torch.utils.data.Sampler):
    """The positions of a run from `start` on, in order."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self):
        return iter(range(self.start, self.end))


class Collate:
    """Puts examples together; picklable, as workers need it."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, Tensor] = {}

    def tokens(self, caption: str) -> Tensor:
        if caption not in self.known:
            if len(self.known) > 100_000:
                self.known.clear()
            self.known[caption] = self.tokenizer([caption])[0]
        return self.known[caption]

    def __call__(self, examples: list[Example]) -> Batch:
        return Batch(
            torch.stack([e.clip for e in examples]),
            torch.stack([e.noise for e in examples]),
            torch.tensor([e.timestep for e in examples]),
            torch.tensor([e.motion_id for e in examples]),
            torch.stack([self.tokens(e.caption) for e in examples]),
        )
