"""The configuration of an autoencoder's training, read and checked as that of Cinemo's own."""

from dataclasses import dataclass, field
from pathlib import Path

from ....errors import InputError
from ....models.temporal_vae.keys import VAEConfig
from ...config import Optimizer, key


@dataclass(frozen=True)
class Pictures:
    """What it sees: views of procedural scenes, some with parts of photographs as backdrops."""

    width: int = key(64, low=32)
    height: int = key(64, low=32)
    photographs: str = key("", path=True)
    seed: int = key(0, low=0)
    workers: int = key(1, low=0)

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if getattr(self, name) % 8:
                raise InputError(f"data.{name} is {getattr(self, name)}; choose a multiple of 8, the pixels of a latent.")


@dataclass(frozen=True)
class Network:
    """Channels of each level, the outermost first, and ResNet blocks per level."""

    widths: tuple[int, int, int, int] = key((64, 64, 64, 64), low=32)
    res_blocks: int = key(2, low=1)

    @property
    def config(self) -> VAEConfig:
        return VAEConfig(self.widths, self.res_blocks, temporal=False)


@dataclass(frozen=True)
class Losses:
    """Weights of what is added to the mean absolute and squared error of the picture: the errors of its edges and of its
    patches' mean colours, and the KL divergence. latent_noise: the most noise that a latent gets, in standard deviations."""

    edges: float = key(0.5, low=0.0)
    colours: float = key(0.5, low=0.0)
    kl: float = key(1e-3, low=0.0)
    latent_noise: float = key(0.0, low=0.0, high=1.0)


@dataclass(frozen=True)
class AutoencoderRun:
    """How long, and what is written."""

    output: str = key(path=True)
    steps: int = key(low=1)
    batch: int = key(16, low=2)
    seed: int = key(0, low=0)
    precision: str = key("no", choices=("no", "fp16", "bf16"))
    log_every: int = key(50, low=1)
    checkpoint_every: int = key(500, low=1)
    keep: int = key(1, low=1)


@dataclass(frozen=True)
class AutoencoderConfig:
    """A whole run."""

    run: AutoencoderRun
    data: Pictures = Pictures()
    model: Network = Network()
    loss: Losses = Losses()
    optimizer: Optimizer = field(default_factory=Optimizer)

    @property
    def output(self) -> Path:
        return Path(self.run.output)
