"""The measurements of `bench` that start or load something; each prints one line of JSON."""

import argparse
import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import psutil

from .on_cpu import choose_cpu

ROOT = Path(__file__).resolve().parent.parent
SLOW = ("diffusers", "transformers", "scipy", "accelerate", "einops")
PAGE = 4096

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=("import", "write", "load", "read"))
parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
parser.add_argument("--file", type=Path)
parser.add_argument("--model", choices=("cinemo", "dynamicrafter"), default="cinemo", help="whose file is written and loaded")
options = parser.parse_args()
if options.device == "cpu":
    choose_cpu()  # before anything of ComfyUI that chooses a device


def import_pack() -> dict:
    """Seconds that ComfyUI takes to import itself and then the pack, and slow libraries that the pack brought in.

    Of the processor's time for this thread, because imports run in one and other programs do not change it.
    """
    begin = time.thread_time()
    import nodes

    async def start() -> tuple[float, float, set[str]]:
        await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
        before = set(sys.modules)
        complete = time.thread_time()
        loaded = await nodes.load_custom_node(str(ROOT))
        end = time.thread_time()
        if not loaded:
            sys.exit("ComfyUI could not import the pack")
        return complete - begin, end - complete, {name.partition(".")[0] for name in set(sys.modules) - before}

    comfyui, pack, imported = asyncio.run(start())
    return {"comfyui": comfyui, "pack": pack, "slow": sorted(imported & set(SLOW))}


def cinemo_shapes() -> dict[str, tuple[int, ...]]:
    """A full-size UNet in the published layout."""
    from cinemo_core.models.cinemo.keys import TABLE
    from cinemo_core.models.cinemo.skeleton import expected_shapes

    from .bench_sizes import CINEMO

    shapes = expected_shapes(CINEMO)
    names = TABLE.to_diffusers(shapes, CINEMO)
    return {names[name]: shape for name, shape in shapes.items()}


def dynamicrafter_shapes() -> dict[str, tuple[int, ...]]:
    """A whole checkpoint of full size, as ComfyUI saves it: network, VAE, text and image tower."""
    from cinemo_core.models.clip_text import keys as text
    from cinemo_core.models.clip_vision import keys as image
    from cinemo_core.models.dynamicrafter.checkpoint import IMAGE, TEXT, VAE
    from cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
    from cinemo_core.models.sd_unet.keys import LDM_PREFIX
    from cinemo_core.models.temporal_vae.keys import entries

    from . import bench_sizes as sizes

    parts = {
        LDM_PREFIX: DYNAMICRAFTER.shapes(sizes.DYNAMICRAFTER),
        VAE: {entry.ldm: entry.shape for entry in entries(sizes.VAE)},
        TEXT: text.shapes(sizes.TEXT_TOWER),
        IMAGE: image.shapes(sizes.IMAGE_TOWER),
    }
    return {prefix + name: shape for prefix, shapes in parts.items() for name, shape in shapes.items()}


def write() -> dict:
    """A file of random float16 weights."""
    import torch
    from safetensors.torch import save_file

    shapes = {"cinemo": cinemo_shapes, "dynamicrafter": dynamicrafter_shapes}[options.model]()
    save_file({name: torch.empty(shape, dtype=torch.float16).uniform_(-0.1, 0.1) for name, shape in shapes.items()}, options.file)
    return {"mb": options.file.stat().st_size / 1e6}


def load_networks() -> list:
    """The file's networks, in the format of the file where ComfyUI leaves the choice."""
    if options.model == "cinemo":
        from cinemo_core.comfyui.loading import load_unet

        return [load_unet(str(options.file), "fp16").model.diffusion_model]
    from cinemo_core.comfyui.dynamicrafter.loading import load_checkpoint

    loaded = load_checkpoint(str(options.file), "fp16")
    return [
        loaded.model.model.diffusion_model,
        loaded.clip.cond_stage_model,
        loaded.vae.first_stage_model,
        loaded.clip_vision.model,
    ]


def load() -> dict:
    """Seconds to load the file and touch every page of its weights; the peak of resident memory, mapped pages included."""
    import torch

    from cinemo_core.comfyui import loading  # noqa: F401  # whose libraries are not part of loading

    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    start = process.memory_info().rss
    watcher.start()
    begin = time.perf_counter()
    touched = 0
    for network in load_networks():
        for weight in network.parameters():
            touched += int(weight.detach().contiguous().view(-1).view(torch.uint8)[::PAGE].sum())
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    return {"seconds": seconds, "peak_mb": (max(peak[0], process.memory_info().rss) - start) / 1e6, "touched": touched}


def read() -> dict:
    """Seconds to read the file's bytes into memory."""
    begin = time.perf_counter()
    size = len(options.file.read_bytes())
    return {"seconds": time.perf_counter() - begin, "bytes": size}


MEASUREMENTS = {"import": import_pack, "write": write, "load": load, "read": read}

if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[options.what]()))
