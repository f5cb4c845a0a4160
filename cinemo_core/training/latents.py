"""Clips as latents on disk: each is encoded once, then training streams from the files.

A cache is a folder of shards, safetensors files of latents [n, f, 4, h, w] in float16 and mean SSIMs [n], captions in the
header. The folder's name is a hash of everything that its content depends on. A shard appears when it is whole, so an
interrupted run resumes where it stopped.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..motion.ssim import ssim_of_pairs
from .clips import BadClips, Source
from .seeds import number
from .sources import draw_clip

CLIPS_PER_SHARD = 256
OPEN_SHARDS = 64


class Measured(NamedTuple):
    """A clip with its SSIM s(V) (Eq. 2). clip: pixels, uint8 [f, 3, h, w], or scaled latents, float32 [f, 4, h, w]."""

    clip: Tensor
    ssim: float
    caption: str


def mean_ssim(frames: Tensor) -> float:
    """s(V) of Eq. 2: mean SSIM of consecutive frames, uint8 [f, 3, h, w], in pixels."""
    scores = list(ssim_of_pairs(frame.permute(1, 2, 0).double() / 255 for frame in frames))
    return sum(scores) / len(scores)


class MeasuredSource:
    """The clips of a source, in pixels, with their SSIM."""

    def __init__(self, source: Source, bad_clips: BadClips) -> None:
        self.source, self.bad_clips = source, bad_clips

    def __len__(self) -> int:
        return len(self.source)

    def clip(self, index: int, draw: int) -> Measured:
        frames, caption = draw_clip(self.source, index, draw, self.bad_clips)
        return Measured(frames, mean_ssim(frames), caption)


class ClipsToEncode(torch.utils.data.Dataset):
    """The clips of a cache by position: the part of making one that workers can do.

    Positions past the number of clips in the source come round to the same clips, drawn again.
    """

    def __init__(self, source: MeasuredSource, seed: int, positions: range) -> None:
        self.source, self.seed, self.positions = source, seed, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, item: int) -> Measured:
        position = self.positions[item]
        return self.source.clip(position % len(self.source), number(self.seed, "clip", position))


def cache_folder(parent: Path, settings: dict[str, Any]) -> Path:
    """The folder for these settings: anything else in them gives another folder."""
    text = json.dumps(settings, sort_keys=True)
    return parent / hashlib.sha256(text.encode()).hexdigest()[:16]


def write_cache(
    folder: Path,
    clips: int,
    shards: range,
    measured: Callable[[range], Iterable[Measured]],
    encode: Callable[[Tensor], Tensor],
    progress: Callable[[int], None],
    rescore: Callable[[Tensor], float] | None = None,
) -> None:
    """Make those of `shards` that are not there yet.

    measured: gives the clips and SSIMs of a range of positions. encode: uint8 [n, 3, h, w] to latents.
    progress: called with the number of clips that became ready. rescore: an SSIM from a clip's latents, in place of that
    of its pixels.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        positions = positions_of(shard, clips)
        path = shard_path(folder, shard)
        if not path.exists():
            latents, scores, captions = [], [], []
            for frames, score, caption in measured(positions):
                latent = encode(frames)
                latents.append(latent.to("cpu", torch.float16))
                scores.append(score if rescore is None else rescore(latent))
                captions.append(caption)
                progress(1)
            partial = path.with_name(f".{path.name}.{os.getpid()}.part")
            tensors = {"latents": torch.stack(latents).contiguous(), "ssim": torch.tensor(scores, dtype=torch.float64)}
            save_file(tensors, partial, metadata={"captions": json.dumps(captions)})
            os.replace(partial, path)
        else:
            progress(len(positions))


def shards_of(clips: int) -> int:
    return -(-clips // CLIPS_PER_SHARD)


def positions_of(shard: int, clips: int) -> range:
    """The clips of a shard; the last may hold fewer."""
    return range(shard * CLIPS_PER_SHARD, min(clips, (shard + 1) * CLIPS_PER_SHARD))


def share_of(shards: range, clips: int) -> int:
    """How many of all the clips are in `shards`."""
    return sum(len(positions_of(shard, clips)) for shard in shards)


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"latents-{shard:06}.safetensors"


class LatentCache:
    """The clips of a whole cache by number; a few shards are open at a time, mapped from disk."""

    def __init__(self, folder: Path, clips: int) -> None:
        self.folder, self.clips = folder, clips
        self.open: OrderedDict[int, tuple[Tensor, Tensor, list[str]]] = OrderedDict()

    def __len__(self) -> int:
        return self.clips

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"open": OrderedDict()}

    def clip(self, index: int, draw: int) -> Measured:
        """Clip `index`; what was drawn for it was drawn when it was encoded."""
        shard, row = divmod(index, CLIPS_PER_SHARD)
        latents, scores, captions = self._shard(shard)
        return Measured(latents[row].float(), float(scores[row]), captions[row])

    def captions(self) -> Iterator[str]:
        """Of every clip, in order; no latents are read."""
        from safetensors import safe_open

        for shard in range(shards_of(self.clips)):
            with safe_open(shard_path(self.folder, shard), "pt") as file:
                yield from json.loads(file.metadata()["captions"])

    def _shard(self, shard: int) -> tuple[Tensor, Tensor, list[str]]:
        if shard not in self.open:
            from safetensors import safe_open

            if len(self.open) >= OPEN_SHARDS:
                self.open.popitem(last=False)
            with safe_open(shard_path(self.folder, shard), "pt") as file:
                captions = json.loads(file.metadata()["captions"])
                self.open[shard] = file.get_tensor("latents"), file.get_tensor("ssim"), captions
        self.open.move_to_end(shard)
        return self.open[shard]
