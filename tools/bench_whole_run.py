"""The memory of a whole run of Cinemo at full size, with random weights, on a CPU; each measurement prints one line of JSON.

write   a checkpoint folder in the published layout, float16
stages  the peak of resident memory, pages mapped from the files included, while a clip of 512x320 and 16 frames is made: loading,
        encoding text and image, sampling (one step with guidance), decoding; and what is held after each
decode  the peak that decoding 14 frames of 160x128 with the temporal VAE adds, with this pack's blocks or with ComfyUI's own
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from .on_cpu import choose_cpu

WIDTH, HEIGHT, FRAMES = 512, 320, 16
WEIGHTS = "diffusion_pytorch_model.safetensors"

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=("write", "stages", "decode"))
parser.add_argument("--folder", type=Path)
parser.add_argument("--dtype", choices=("default", "fp16"), default="default", help="weight_dtype of the loader")
parser.add_argument("--blocks", choices=("ours", "stock"), default="ours")
options = parser.parse_args()
choose_cpu()  # before anything of ComfyUI that chooses a device

import torch
from comfy.ldm.modules.temporal_ae import AE3DConv, VideoResBlock
from safetensors.torch import save_file

from cinemo_core.comfyui import temporal_decoder
from cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_core.comfyui.cinemo.conditioning import Motion, condition_clip
from cinemo_core.comfyui.cinemo.noise import initial_noise
from cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_core.comfyui.decode import CHUNK, decode_clip
from cinemo_core.comfyui.noise import random_noise
from cinemo_core.comfyui.pictures import ClipSize
from cinemo_core.comfyui.vae import make_vae
from cinemo_core.models.cinemo.keys import TABLE
from cinemo_core.models.cinemo.skeleton import expected_shapes
from cinemo_core.models.clip_text import keys as text_keys
from cinemo_core.models.temporal_vae import keys as vae_keys
from cinemo_core.motion.low_pass import LowPass

from .bench_sizes import CINEMO, CLIP_L, TEMPORAL_VAE


def random(shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights of ordinary size, so that numbers stay numbers through a whole run."""
    generator = torch.Generator().manual_seed(0)
    matrix = {name: torch.Size(shape[1:]).numel() ** -0.5 for name, shape in shapes.items() if len(shape) > 1}
    return {
        name: (torch.randn(shape, generator=generator) * matrix[name] if name in matrix else torch.rand(shape, generator=generator)).to(
            dtype
        )
        for name, shape in shapes.items()
    }


def write() -> dict:
    shapes = expected_shapes(CINEMO)
    names = TABLE.to_diffusers(shapes, CINEMO)
    parts = {
        f"unet/{WEIGHTS}": {names[name]: shape for name, shape in shapes.items()},
        f"vae_temporal_decoder/{WEIGHTS}": {entry.diffusers: entry.diffusers_shape for entry in vae_keys.entries(TEMPORAL_VAE)},
        "text_encoder/model.safetensors": text_keys.shapes(CLIP_L),
    }
    for name, part in parts.items():
        path = options.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(random(part, torch.float16), path)
    (options.folder / "text_encoder" / "config.json").write_text(json.dumps(CLIP_L.json_config()), encoding="utf-8")
    return {"mb": sum((options.folder / name).stat().st_size for name in parts) / 1e6}


class Peaks:
    """Resident memory of this process above its level at the start, in MB: the peak of each stage, and what is held after it."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.start = self.process.memory_info().rss
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        done, peak = threading.Event(), [0]

        def watch() -> None:
            while not done.wait(0.005):
                peak[0] = max(peak[0], self.process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.perf_counter()
        try:
            yield
        finally:
            done.set()
            watcher.join()
        after = self.process.memory_info().rss
        self.found[name] = {
            "peak_mb": (max(peak[0], after) - self.start) / 1e6,
            "held_mb": (after - self.start) / 1e6,
            "seconds": time.perf_counter() - begin,
        }
        print(name, self.found[name], file=sys.stderr, flush=True)


def stages() -> dict:
    peaks = Peaks()
    with peaks.stage("load"):
        model, clip, vae = load_bundle(str(options.folder.absolute()), options.dtype)
    with peaks.stage("text"):
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in ("the camera pans left", ""))
    with peaks.stage("image"):
        image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
        positive, negative, still = condition_clip(positive, negative, vae, image, ClipSize(WIDTH, HEIGHT, FRAMES), Motion(9))
        noise, _ = initial_noise({"samples": still}, random_noise(0), LowPass(0.23, 975, 1.0))
    with peaks.stage("sample"):
        frames, _ = sample_clip(model, positive, negative, {"samples": still}, Sampling(0, 1, 7.5, "dpmpp_2m", "cinemo_fast"), noise)
    with peaks.stage("decode"):
        decode_clip(vae, frames["samples"])
    return peaks.found


def decode() -> dict:
    if options.blocks == "stock":
        kernel = {"video_kernel_size": temporal_decoder.TIME_KERNEL}
        stock: dict[str, Callable] = {"resnet_op": partial(VideoResBlock, **kernel), "conv_out_op": partial(AE3DConv, **kernel)}
        temporal_decoder.blocks = lambda: stock
        temporal_decoder.upsample_by_frame = lambda decoder: None
    vae = make_vae(random({entry.ldm: entry.shape for entry in vae_keys.entries(TEMPORAL_VAE)}, torch.float32), "The VAE")
    latents = torch.randn(CHUNK, 4, 20, 16, generator=torch.Generator().manual_seed(0))
    peaks = Peaks()
    begin = time.process_time()
    with peaks.stage("decode"):
        decode_clip(vae, latents)
    return peaks.found["decode"] | {"processor_seconds": time.process_time() - begin}


MEASUREMENTS = {"write": write, "stages": stages, "decode": decode}

if __name__ == "__main__":
    with torch.inference_mode():
        print(json.dumps(MEASUREMENTS[options.what]()))
