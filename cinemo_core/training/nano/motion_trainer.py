"""Trains nano's UNet and text encoder on camera moves at mixed sizes: python -m cinemo_core.training.nano.motion_trainer CONFIG.toml

Every batch is made from its number alone, so a run that was stopped resumes exactly.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import CinemoError
from ...models.cinemo.config import CinemoConfig
from ...models.cinemo.schedule import alphas_cumprod
from .. import export, network, objective, text
from ..config import Optimizer, Text, key, read_toml
from ..frozen import Tokenizer
from ..optimiser import Slowed, make_optimizers
from ..seeds import number
from .bag_of_words import bag_of_words
from .camera_clips import FRAMES, CameraClip, Still, draw_clip, encode_missing, read_stills
from .camera_share import AMOUNTS, Predictor, Watched, explained, predict
from .exact import keep_exact
from .gated_start import gated_start, gates
from .library import Library
from .loop import LoopRun, make_accelerator, make_loop
from .moves import SHIFTED, ZOOMED
from .pass_through import hold_again
from .procedural.dice import Dice
from .scene_clips import SceneClip, encode_missing_scenes, read_scenes

ROUNDING = 0.004  # of bfloat16 in the noise; where F counts less than that, its error says less


@dataclass(frozen=True)
class Motion:
    """train, held_out: files of encoded stills. sides: of these pictures, the shorter one, in latents; each is there at every size.

    sizes: width and height of clips in latents, and how often they are drawn, as flat triples. places: latents to a frame of all
    clips of a batch. scenes: file of clips without a camera, scene_count of each of scene_sides; scene_share: of batches. late: share
    of timesteps from 600 on; zoom_share: of camera moves. watched: clips of watched_size that are watched; amounts: how far they go.
    """

    train: str = key(path=True)
    held_out: str = key(path=True)
    sides: tuple[int, ...] = key((48, 32), low=8)
    sizes: tuple[int, ...] = key((24, 24, 1), low=1)
    watched_size: int = key(24, low=4)
    places: int = key(1152, low=16)
    scenes: str = key("", path=True)
    scene_sides: tuple[int, ...] = key((16, 8), low=4)
    scene_count: int = key(256, low=1)
    scene_share: float = key(0.2, low=0.0, high=1.0)
    zoom_share: float = key(0.34, low=0.0, high=1.0)
    text_dropout: float = key(0.1, low=0.0, high=1.0)
    late: float = key(0.5, low=0.0, high=1.0)
    amounts: tuple[float, ...] = key(AMOUNTS, low=0.0)
    watched: int = key(12, low=1)


@dataclass(frozen=True)
class UNetSizes:
    multipliers: tuple[float, ...] = key((1.0, 2.0, 2.0), low=0.5)
    res_blocks: tuple[int, ...] = key((1, 1, 1), low=1)
    width: int = key(96, low=96)
    heads: int = key(3, low=2)
    motion_dim: int = key(32, low=2)

    def config(self, context_dim: int) -> CinemoConfig:
        up = tuple(1 for count in reversed(self.res_blocks) for _ in range(count + 1))
        return CinemoConfig(
            4,
            4,
            self.width,
            self.multipliers,
            self.res_blocks,
            (1,) * sum(self.res_blocks),
            1,
            up,
            context_dim,
            self.heads,
            self.motion_dim,
        )


@dataclass(frozen=True)
class MotionConfig:
    """A whole run. tokenizer: as model.tokenizer of the trainer's.

    start: folder of a whole Cinemo to continue from, whose sizes then count, and whose autoencoder goes into the export at the end;
    without it, UNet and text encoder start from nothing.
    library: folder for the template pictures' first frames, which its autoencoder encodes where data.train or data.held_out is missing,
    as it does the clips of data.scenes.
    """

    data: Motion
    run: LoopRun
    tokenizer: str = key("", path=True)
    start: str = key("", path=True)
    library: str = key("", path=True)
    unet: UNetSizes = field(default_factory=UNetSizes)
    text: Text = field(default_factory=Text)
    optimizer: Optimizer = field(default_factory=Optimizer)


class Examples(NamedTuple):
    """latents, noise: [b, f, 4, h, w] and [b, f - 1, 4, h, w]; timesteps, motion_ids: [b]; captions."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    motion_ids: Tensor
    captions: list[str]


class MotionBatches(Dataset):
    """Batch `step`: clips of one size, about `places` latents to a frame of all of them; camera moves over stills, or scenes."""

    def __init__(self, stills: list[Still], options: Motion, seed: int, scenes: Sequence[SceneClip] = ()) -> None:
        self.stills, self.options, self.seed = stills, options, seed
        self.scenes = {side: [scene for scene in scenes if scene.latents.shape[-1] == side] for side in options.scene_sides}
        triples = zip(options.sizes[::3], options.sizes[1::3], options.sizes[2::3], strict=True)
        self.sizes = [(w, h) for w, h, often in triples for _ in range(often)]

    def __getitem__(self, step: int) -> Examples:
        options = self.options
        dice = Dice(number(self.seed, "motion", step))
        clips = self.draw(dice)
        latents = torch.stack([clip.latents for clip in clips])
        noise = torch.randn(latents[:, 1:].shape, generator=torch.Generator().manual_seed(number(self.seed, "noise", step)))
        timesteps = [dice.integer(600, 999) if dice.chance(options.late) else dice.integer(0, 999) for _ in clips]
        captions = ["" if dice.chance(options.text_dropout) else clip.caption for clip in clips]
        ids = [objective.motion_id_for_training(clip.ssim, "ssim") for clip in clips]
        return Examples(latents, noise, torch.tensor(timesteps), torch.tensor(ids), captions)

    def draw(self, dice: Dice) -> Sequence[CameraClip | SceneClip]:
        options = self.options
        if options.scenes and dice.chance(options.scene_share):
            side = dice.choice(options.scene_sides)
            return [dice.choice(self.scenes[side]) for _ in range(max(1, options.places // side**2))]
        width, height = dice.choice(self.sizes)
        count = max(1, options.places // (width * height))
        ways = [ZOOMED if dice.chance(options.zoom_share) else SHIFTED for _ in range(count)]
        return [draw_clip(dice, self.stills, width, height, FRAMES, captions) for captions in ways]


class MotionTrainee(torch.nn.Module):
    """UNet and text encoder, and the loss: the error of F (see `gated_start`)."""

    alphas: Tensor
    gate: Tensor

    def __init__(self, unet: Any, text_encoder: Any) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.register_buffer("alphas", alphas_cumprod(), persistent=False)
        self.register_buffer("gate", gates()[1].float(), persistent=False)

    def forward(self, latents: Tensor, noise: Tensor, timesteps: Tensor, motion_ids: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        alphas = self.alphas[timesteps]
        noisy = objective.add_noise(latents, noise, alphas, objective.RESIDUAL)
        predicted = predict(self.unet, noisy.frames, timesteps, motion_ids, text.encode(self.text_encoder, tokens))
        error = (predicted.float() - noise).square().mean(dim=(1, 2, 3, 4)) / (self.gate[timesteps].square() + ROUNDING**2)
        energy = (latents[:, 1:] - latents[:, :1]).square().mean(dim=(1, 2, 3, 4))
        # Strong motion would drown weak one; its root is between counting residuals alike and counting clips alike.
        return {"loss": (error / (energy + 0.02).sqrt()).mean(), "error": error.mean().detach(), "energy": energy.mean()}


def start_from_nothing(config: MotionConfig) -> tuple[Any, Any]:
    """A UNet and a text encoder of the configured sizes."""
    seed = config.run.seed
    encoder = text.from_scratch(config.text.config(), number(seed, "text"), bag_of_words)
    unet = network.from_scratch(config.unet.config(config.text.width), number(seed, "unet"))
    gated_start(unet, number(seed, "level") % 1000)
    return unet, encoder


def start_from(folder: Path) -> tuple[Any, Any]:
    """UNet and text encoder of a Cinemo; what its training held is held again."""
    unet = network.load(folder / "unet", 0, 0)
    hold_again(unet)
    return unet, text.load(folder / "text_encoder")


def train(config: MotionConfig) -> bool:
    """Train, from the last checkpoint if there is one. Returns whether the run is finished."""
    options = config.run
    accelerator = make_accelerator(options)
    tokenizer = Tokenizer(config.tokenizer)
    if config.start and config.library:
        vae, library = Path(config.start) / "vae", Library(Path(config.library), most=1)
        encode_missing(vae, library, Path(config.data.train), Path(config.data.held_out), config.data.sides)
        if config.data.scenes:
            encode_missing_scenes(vae, Path(config.data.scenes), config.data.scene_sides, config.data.scene_count)
    unet, encoder = start_from(Path(config.start)) if config.start else start_from_nothing(config)
    keep_exact(unet)
    trainee = MotionTrainee(unet, encoder)
    slowed = [Slowed(layer, config.optimizer.output_rate) for layer in network.output_layers(unet)]
    slowed += [Slowed(encoder, config.optimizer.text_rate)]
    optimizers = make_optimizers(config.optimizer, trainee, accelerator.device, slowed, network.matrices(unet))
    loop = make_loop(options, config.optimizer, accelerator, trainee, optimizers)
    held_out = read_stills(Path(config.data.held_out))

    def forward(batch: Examples) -> dict[str, Tensor]:
        return loop.prepared(batch.latents, batch.noise, batch.timesteps, batch.motion_ids, tokenizer(batch.captions))

    def look() -> dict[str, Any]:
        watched = Watched(config.data.watched_size, config.data.watched, config.data.amounts)
        return {"explained": explained(Predictor(unet, encoder, tokenizer), held_out, watched)}

    scenes = read_scenes(Path(config.data.scenes)) if config.data.scenes else []
    batches = MotionBatches(read_stills(Path(config.data.train)), config.data, options.seed, scenes)
    finished = loop.run(batches, forward, look)
    if finished and config.start:
        with loop.averaged():
            write_whole(Path(options.output) / "export", unet, encoder, Path(config.start) / "vae")
    return finished


def write_whole(folder: Path, unet: Any, encoder: Any, vae: Path) -> None:
    """Write a Cinemo that every workflow loads."""
    weights = (unet.state_dict(), unet.config, encoder.state_dict(), encoder.config)
    export.write_checkpoint(folder, *weights, {"vae": vae}, "fp16", objective.RESIDUAL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cinemo_core.training.nano.motion_trainer", description="Train nano's UNet.")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="what to train: data, start, sizes, steps")
    try:
        train(read_toml(parser.parse_args(arguments).config, MotionConfig))
    except (CinemoError, OSError) as error:
        print(f"motion: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
