"""Makes the clips of a run ready: opens the source and, where asked for, encodes it into the cache, shared over the processes."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from . import frozen
from .clips import BadClips
from .config import Config
from .latents import ClipsToEncode, LatentCache, MeasuredSource, cache_folder, mean_ssim, shards_of, share_of, write_cache
from .precision import gains_by_bfloat16
from .repeats import RepeatedClips
from .sources import open_source

# Keys of [data] on which a clip's latents and its SSIM depend.
DATA_KEYS = ("source", "seed", "width", "height", "frames", "interval", "views", "clips", "score")
BAD_CLIPS = "bad_clips.jsonl"
PAIRS = 4  # of frames that a decoded clip is measured on


def prepare_clips(config: Config, accelerator: Any, vae: Any) -> LatentCache | RepeatedClips | MeasuredSource:
    """Clips by number: latents from the cache, or pixels. Raises InputError where the source, or what is to be repeated, is missing."""
    source = open_source(config.data)
    bad_clips = BadClips(config.output / BAD_CLIPS)
    measured_source = MeasuredSource(source, bad_clips)
    if not config.data.cache:
        return measured_source
    clips = len(source) * config.data.views

    settings = {
        "identity": source.identity(),
        "vae": frozen.fingerprint(Path(config.model.vae)),
        **{name: getattr(config.data, name) for name in DATA_KEYS},
    }
    parent = Path(config.data.cache_folder) if config.data.cache_folder else config.output / "latents"
    folder = cache_folder(parent, settings)
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        logging.info("Latents of %d clips are kept in %s", clips, folder)

    def measured(positions: range) -> DataLoader:
        clips_to_encode = ClipsToEncode(measured_source, config.data.seed, positions)
        return DataLoader(clips_to_encode, batch_size=None, num_workers=config.data.workers)

    mine = range(accelerator.process_index, shards_of(clips), accelerator.num_processes)
    with progress_bar(accelerator, share_of(mine, clips), "Encoding") as bar:
        rescore = (lambda latents: decoded_ssim(vae, latents)) if config.data.score == "decoded" else None
        write_cache(folder, clips, mine, measured, lambda frames: frozen.encode(vae, frames), bar.update, rescore)
    accelerator.wait_for_everyone()
    bad_clips.log_count()
    cache = LatentCache(folder, clips)
    return RepeatedClips(cache, config.data.repeats) if config.data.repeats else cache


def decoded_ssim(vae: Any, latents: Tensor) -> float:
    """Mean SSIM of some pairs of consecutive frames, spread over the clip, as its latents [f, 4, h, w] show them.

    Decoding takes most of the time of a cache, hence not all pairs, and bfloat16 where that is faster.
    """
    starts = torch.linspace(0, len(latents) - 2, PAIRS).round().long().unique()
    with torch.autocast(latents.device.type, torch.bfloat16, enabled=gains_by_bfloat16(latents.device)):
        return sum(mean_ssim(frozen.decode(vae, latents[start : start + 2])) for start in starts) / len(starts)


def progress_bar(accelerator: Any, total: int, name: str, done: int = 0) -> Any:
    """A bar of this process's part, on the first process only."""
    from tqdm import tqdm

    return tqdm(total=total, initial=done, desc=name, disable=not accelerator.is_main_process, dynamic_ncols=True, mininterval=1.0)
