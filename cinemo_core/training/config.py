"""The configuration of a training run: frozen dataclasses, one per section of a TOML file, every key checked when read.

A section is a dataclass, a key its field. The type, the range and the words of a key stand at the field, and so do those of
the documentation. Paths are relative to the TOML file.
"""

import math
import os
import sys
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..files.text import read_text
from ..models.cinemo.config import CinemoConfig
from ..models.clip_text.keys import CLIPTextConfig
from ..models.sd_unet.config import NORM_GROUPS
from ..motion.buckets import BUCKETS
from .lora import ATTENTIONS

SCRATCH = "scratch"
NONE = "none"
T = TypeVar("T")


def key(default: Any = MISSING, *, low: float | None = None, high: float | None = None, choices: tuple = (), path: bool = False) -> Any:
    """A key of a section: its default (without one it must be given), and which values it takes."""
    metadata = {"low": low, "high": high, "choices": choices, "path": path}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Repeat:
    """Clips that are shown several times in every epoch: those with these words in their caption."""

    words: str = key()
    times: int = key(low=2)

    def __post_init__(self) -> None:
        if not self.words:
            raise InputError('An entry of data.repeats has no words, which would fit every clip; give words = "some words".')


@dataclass(frozen=True)
class Data:
    """Which clips, of which size."""

    source: str = key(choices=("videos", "procedural"))
    width: int = key(low=8)
    height: int = key(low=8)
    path: str = key("", path=True)
    clips: int = key(0, low=0)
    photographs: str = key("", path=True)
    seed: int = key(0, low=0)
    frames: int = key(16, low=2, high=256)
    interval: tuple[int, int] = key((3, 10), low=1)
    views: int = key(1, low=1)
    cache: bool = key(True)
    score: str = key("source", choices=("source", "decoded"))
    cache_folder: str = key("", path=True)
    repeats: tuple[Repeat, ...] = key(())
    workers: int = key(0, low=0)

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if getattr(self, name) % 8:
                raise InputError(f"data.{name} is {getattr(self, name)}; choose a multiple of 8, the pixels of a latent.")
        if self.interval[0] > self.interval[1]:
            raise InputError(f"data.interval is {list(self.interval)}; give the smaller number of frames first.")
        if self.score == "decoded" and not self.cache:
            raise InputError('data.score = "decoded" is measured when the cache is made; set data.cache = true, or data.score = "source".')
        if self.repeats and not self.cache:
            raise InputError("data.repeats is set, but captions are known in advance only from the cache; set data.cache = true.")
        if self.source == "videos" and not self.path:
            raise InputError('data.path is missing; give a folder of videos, or a .csv or .jsonl list of them, for source = "videos".')
        if self.source == "procedural" and not self.clips:
            raise InputError('data.clips is missing; say how many different clips source = "procedural" makes.')


@dataclass(frozen=True)
class Model:
    """What is trained, and from where it starts."""

    vae: str = key(path=True)
    start: str = key(SCRATCH, path=True)
    held_weights: str = key(NONE, choices=(NONE, "pass_through"))
    text_encoder: str = key("", path=True)
    tokenizer: str = key("", path=True)
    vae_temporal_decoder: str = key("", path=True)
    train_text_encoder: bool = key(False)
    gradient_checkpointing: bool = key(False)
    lora_rank: int = key(0, low=0)
    lora_alpha: float = key(0.0, low=0.0)
    lora_layers: tuple[str, ...] = key(ATTENTIONS, choices=(*ATTENTIONS, "motion_embed"))

    def __post_init__(self) -> None:
        if self.lora_rank and self.train_text_encoder:
            raise InputError("model.lora_rank and model.train_text_encoder are both set; LoRA trains layers of the UNet alone: unset one.")
        if self.lora_rank and not self.lora_layers:
            raise InputError("model.lora_layers is empty, so nothing would train; name some layers, or leave the key out.")
        if self.lora_rank and self.start == SCRATCH:
            raise InputError("model.lora_rank is set, but nothing to start from; give a Cinemo checkpoint as model.start.")


@dataclass(frozen=True)
class UNet:
    """Sizes of a UNet made from scratch."""

    width: int = key(64, low=32)
    multipliers: tuple[float, ...] = key((1.0, 1.5, 1.5, 2.0), low=0.5)
    attention: tuple[bool, ...] = key((True, True, True, False))
    res_blocks: int = key(1, low=1)
    heads: int = key(2, low=1)
    motion_dim: int = key(32, low=2)

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.multipliers):
            raise InputError(
                f"unet.attention has {len(self.attention)} entries and unet.multipliers {len(self.multipliers)}; give one each per level."
            )
        for multiplier in self.multipliers:
            if round(self.width * multiplier) <= NORM_GROUPS:  # the norm after it would take the time and the motion out again
                raise InputError(
                    f"unet.multipliers gives a level of {round(self.width * multiplier)} channels, one to a normalisation group; "
                    f"make every level at least {2 * NORM_GROUPS} wide."
                )

    def config(self, context_dim: int, latent_channels: int = 4) -> CinemoConfig:
        depths = [int(on) for on in self.attention]
        return CinemoConfig(
            in_channels=latent_channels,
            out_channels=latent_channels,
            model_channels=self.width,
            channel_mult=self.multipliers,
            num_res_blocks=(self.res_blocks,) * len(depths),
            transformer_depth=tuple(d for d in depths for _ in range(self.res_blocks)),
            transformer_depth_middle=1,
            transformer_depth_output=tuple(d for d in depths for _ in range(self.res_blocks + 1)),
            context_dim=context_dim,
            num_heads=self.heads,
            motion_dim=self.motion_dim,
        )


@dataclass(frozen=True)
class Text:
    """Sizes of a text encoder made from scratch."""

    width: int = key(64, low=8)
    layers: int = key(2, low=1)
    heads: int = key(2, low=1)
    initial_weights: str = key("random", choices=("random", "bag_of_words"))

    def config(self) -> CLIPTextConfig:
        return CLIPTextConfig(
            hidden_size=self.width,
            intermediate_size=4 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            hidden_act="quick_gelu",
        )


@dataclass(frozen=True)
class Objective:
    """What the network learns; the defaults are the paper's."""

    prediction: str = key("residual", choices=("residual", "direct"))
    motion: str = key("ssim", choices=("ssim", "none"))
    text_dropout: float = key(0.5, low=0.0, high=1.0)
    noise_offset: float = key(0.0, low=0.0, high=1.0)
    min_snr_gamma: float = key(0.0, low=0.0)
    snr_power: float = key(0.0, low=0.0, high=1.0)
    high_noise: float = key(0.0, low=0.0, high=1.0)

    def __post_init__(self) -> None:
        if self.min_snr_gamma and self.snr_power:
            raise InputError("objective.min_snr_gamma and objective.snr_power are both set, but each weighs the loss; set one of them.")


@dataclass(frozen=True)
class Optimizer:
    """How it learns."""

    learning_rate: float = key(1e-4, low=0.0)
    output_rate: float = key(1.0, low=0.0, high=1.0)
    text_rate: float = key(1.0, low=0.0, high=1.0)
    muon_rate: float = key(0.0, low=0.0)
    betas: tuple[float, float] = key((0.9, 0.999), low=0.0, high=0.999999)
    weight_decay: float = key(0.01, low=0.0)
    schedule: str = key("constant", choices=("constant", "cosine", "linear"))
    warmup: int = key(0, low=0)
    clip_norm: float = key(1.0, low=0.0)
    eight_bit: bool = key(False)
    ema: float = key(0.0, low=0.0, high=0.999999)


@dataclass(frozen=True)
class Run:
    """How long, and what is written."""

    output: str = key(path=True)
    steps: int = key(low=1)
    batch: int = key(low=1)
    accumulation: int = key(1, low=1)
    seed: int = key(0, low=0)
    precision: str = key("accelerate", choices=("accelerate", "no", "fp16", "bf16"))
    log_every: int = key(10, low=1)
    checkpoint_every: int = key(1000, low=1)
    keep: int = key(2, low=1)


@dataclass(frozen=True)
class Case:
    """One picture to animate at every validation: an image file, or the first frame of a procedural clip."""

    image: str = key("", path=True)
    seed: int = key(-1, low=-1)
    caption: str = key("")
    bucket: int = key(10, low=0, high=BUCKETS - 1)

    def __post_init__(self) -> None:
        if bool(self.image) == (self.seed >= 0):
            raise InputError("A case of validation.cases needs either image, a file, or seed, a procedural clip; give one of them.")


@dataclass(frozen=True)
class Validation:
    """Pictures that are animated during training, the same noise every time."""

    cases: tuple[Case, ...] = key(())
    every: int = key(1000, low=1)
    steps: int = key(25, low=1, high=1000)
    cfg: float = key(7.5, low=0.0)
    initial_noise: str = key("dctinit", choices=("dctinit", "none", "fftinit"))


@dataclass(frozen=True)
class Export:
    """The finished checkpoint."""

    folder: str = key("", path=True)
    dtype: str = key("fp16", choices=("fp16", "bf16", "fp32"))
    start_share: float = key(0.0, low=0.0, high=1.0)


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: Data
    model: Model
    run: Run
    unet: UNet = UNet()
    text: Text = Text()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    validation: Validation = Validation()
    export: Export = Export()

    def __post_init__(self) -> None:
        if self.export.start_share and self.model.start == SCRATCH:
            raise InputError("export.start_share is set, but nothing to start from; give a Cinemo checkpoint as model.start.")
        if self.export.start_share and self.model.lora_rank:
            raise InputError("export.start_share and model.lora_rank are both set; a LoRA gets its share by its strength: unset one.")
        held, decay = self.model.held_weights, self.optimizer.weight_decay
        if held != NONE and decay and not self.model.lora_rank:
            raise InputError(
                f'model.held_weights is "{held}", but optimizer.weight_decay = {decay:g} would change what is held; '
                "set optimizer.weight_decay = 0."
            )
        if self.optimizer.muon_rate and self.model.lora_rank:
            raise InputError("optimizer.muon_rate and model.lora_rank are both set, but Muon is for whole matrices; unset one.")

    @property
    def output(self) -> Path:
        return Path(self.run.output)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_config(path: Path) -> Config:
    """The configuration of a run. Raises InputError as `read_toml` does."""
    return read_toml(path, Config)


def read_toml(path: Path, kind: type[T]) -> T:
    """A dataclass of sections from a TOML file. Raises InputError, naming the key, for anything that is not as it must be."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if not os.path.isfile(path):
        raise InputError(f"{path} does not exist or cannot be reached; give the TOML file that describes the run.")
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML ({error}); correct it.") from None
    return parse(kind, table, "", path.parent.absolute())


def parse(kind: type, table: Any, where: str, base: Path) -> Any:
    """A dataclass from a TOML table; `where` is the table's own name, `base` the folder that paths are relative to."""
    if not isinstance(table, Mapping):
        raise InputError(f"{where} is {table!r}, expected a table of keys: write [{where}].")
    known = {f.name: f for f in fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in table:
        if name not in known:
            raise InputError(f"{_join(where, name)} is not a key of the configuration; known here are {', '.join(known)}.")
    for name, f in known.items():
        if name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"{_join(where, name)} is missing; add it.")
    return kind(**{name: _value(value, hints[name], known[name], _join(where, name), base) for name, value in table.items()})


def _value(value: Any, hint: Any, f: Field, where: str, base: Path) -> Any:
    if is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where, base)
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, list) or (kinds[-1] is not Ellipsis and len(value) != len(kinds)):
            count = "a list" if kinds[-1] is Ellipsis else f"a list of {len(kinds)} values"
            raise InputError(f"{where} is {value!r}, expected {count}.")
        return tuple(_value(item, kinds[0], f, f"{where}[{i}]", base) for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}
        raise InputError(f"{where} is {value!r}, expected {words[hint]}.")
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices and value not in choices:
        raise InputError(f"{where} is {value!r}; choose one of {', '.join(choices)}.")
    if hint in (int, float) and not (math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)):
        limits = " and ".join(f"{words} {limit:g}" for words, limit in (("at least", low), ("at most", high)) if limit is not None)
        raise InputError(f"{where} is {value!r}; choose a number that is {limits}.")
    if f.metadata["path"] and value and value != f.default:
        return str(base / Path(value).expanduser())
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
