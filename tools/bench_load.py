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


def write() -> dict:
    """A full-size UNet of random float16 weights in the published layout."""
    import torch
    from safetensors.torch import save_file

    from cinemo_core.models.cinemo.keys import TABLE
    from cinemo_core.models.cinemo.skeleton import expected_shapes

    from .bench_sizes import CINEMO

    shapes = expected_shapes(CINEMO)
    names = TABLE.to_diffusers(shapes, CINEMO)
    save_file({names[name]: torch.empty(shape, dtype=torch.float16).uniform_(-0.1, 0.1) for name, shape in shapes.items()}, options.file)
    return {"mb": options.file.stat().st_size / 1e6}


def load() -> dict:
    """Seconds to load the file and touch every page of its weights; the peak of resident memory, mapped pages included."""
    import torch

    from cinemo_core.comfyui.loading import load_unet

    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    start = process.memory_info().rss
    watcher.start()
    begin = time.perf_counter()
    patcher = load_unet(str(options.file), "fp16")
    touched = 0
    for weight in patcher.model.diffusion_model.parameters():
        touched += int(weight.view(-1).view(torch.uint8)[::PAGE].sum())
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
