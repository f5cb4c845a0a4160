"""Runs the networks over the clips of a folder, on any number of processes.

Clips come in a fixed order and are cut into batches before these are dealt out, so every network sees the same batches on
one process and on many. A clip that cannot be read is named and the next one of the order takes its place. What stays in
memory is a row of features per clip, and for FID sums over all frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import CinemoError, InputError
from ..media.errors import BadMedia
from .captions import read_input_image
from .clips import Clip, ClipReader
from .embeddings import InputConformity, TextSimilarity
from .features import C3D, I3D, Inception
from .frechet import Moments

Found = tuple[int, dict[str, np.ndarray] | str]  # place of a clip in the order; its rows, or why it cannot be used


@dataclass
class Networks:
    """What is run over a folder; the two similarities take their other half from here."""

    i3d: I3D | None = None
    c3d: C3D | None = None
    inception: Inception | None = None
    clip: TextSimilarity | None = None
    dreamsim: InputConformity | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)


class Bad(NamedTuple):
    """A clip that could not be used, and why."""

    name: str
    reason: str


@dataclass
class Measured:
    """Features of a folder.

    rows: by network, one [d] (or a number, for the similarities) per clip in the order of `names`. sums: by network, over
    the frames of all clips.
    """

    names: list[str] = field(default_factory=list)
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, Moments] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)


class Reading(Dataset):
    """Clips as the reader gives them, or the reason why not; read ahead by the workers of a DataLoader."""

    def __init__(self, clips: Sequence[Clip], reader: ClipReader):
        self.clips = clips
        self.reader = reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | str]:
        try:
            return index, self.reader.read(self.clips[index])
        except BadMedia as error:
            return index, error.reason


def measure(
    clips: Sequence[Clip], wanted: int | None, networks: Networks, reader: ClipReader, batch_size: int, workers: int, label: str
) -> Measured:
    """Features of the first `wanted` clips of the order that can be read, of all of them if None.

    Every process of accelerate calls this with the same arguments and gets the same result. Raises InputError if no clip can
    be read; what goes wrong in one process is raised in all of them, so that none waits for it.
    """
    from accelerate.utils import gather_object

    measured = Measured()
    rows: dict[str, list[np.ndarray]] = {}
    wanted = len(clips) if wanted is None else wanted
    position = 0
    while len(measured.names) < wanted and position < len(clips):
        candidates = clips[position : position + wanted - len(measured.names)]
        position += len(candidates)
        own: list[Found] = []
        own_sums: dict[str, Moments] = {}
        problem: Exception | None = None
        try:
            own, own_sums = _measure_share(candidates, networks, reader, batch_size, workers, label)
        except (CinemoError, OSError) as error:
            problem = error
        for anyones in gather_object([problem]):
            if anyones:
                raise anyones
        for index, found in sorted(gather_object(own), key=lambda item: item[0]):
            if isinstance(found, str):
                measured.bad.append(Bad(candidates[index].name, found))
                continue
            measured.names.append(candidates[index].name)
            for name, row in found.items():
                rows.setdefault(name, []).append(row)
        for sums in gather_object([own_sums]):
            _add(measured.sums, sums)
    if not measured.names:
        bad = measured.bad[0]
        raise InputError(f"None of the {len(clips)} {label} clips can be used; {bad.name} {bad.reason}.")
    measured.rows = {name: np.stack(values) for name, values in rows.items()}
    return measured


def _measure_share(
    clips: Sequence[Clip], networks: Networks, reader: ClipReader, batch_size: int, workers: int, label: str
) -> tuple[list[Found], dict[str, Moments]]:
    """This process's share of the clips: (index, rows or reason) of each, and the sums over their frames."""
    from accelerate import PartialState
    from accelerate.utils import tqdm

    state = PartialState()
    batches = [list(range(i, min(i + batch_size, len(clips)))) for i in range(0, len(clips), batch_size)]
    share = batches[state.process_index :: state.num_processes]
    found: list[Found] = []
    sums: dict[str, Moments] = {}
    loader = DataLoader(Reading(clips, reader), batch_sampler=share, num_workers=workers, collate_fn=list)
    for batch in tqdm(loader, desc=label, unit="batch", main_process_only=True):
        found += [(index, reason) for index, reason in batch if isinstance(reason, str)]
        good = [(index, pixels) for index, pixels in batch if not isinstance(pixels, str)]
        if not good:
            continue
        pixels = np.stack([pixels for _, pixels in good])
        names = [clips[index].name for index, _ in good]
        found += [(index, rows) for (index, _), rows in zip(good, _rows(names, pixels, networks, reader), strict=True)]
        if networks.inception:
            _add(sums, {"inception": Moments.of(networks.inception(torch.from_numpy(pixels)))})
    return found, sums


def _rows(names: Sequence[str], pixels: np.ndarray, networks: Networks, reader: ClipReader) -> list[dict[str, np.ndarray]]:
    """What each network says of each clip of a batch, uint8 [b, f, h, w, 3]."""
    rows: list[dict[str, np.ndarray]] = [{} for _ in names]
    for network in (networks.i3d, networks.c3d):
        if network:
            for row, features in zip(rows, network(torch.from_numpy(pixels)), strict=True):
                row[network.name] = features
    for row, name, frames in zip(rows, names, pixels, strict=True):
        if networks.clip:
            row["clip"] = np.array(networks.clip(frames, networks.captions[name]))
        if networks.dreamsim:
            image = reader.fit(read_input_image(networks.images[name])) if networks.images else frames[0]
            row["dreamsim"] = np.array(networks.dreamsim(image, frames))
    return rows


def _add(total: dict[str, Moments], more: Mapping[str, Moments]) -> None:
    for name, moments in more.items():
        total[name] = total[name] + moments if name in total else moments
