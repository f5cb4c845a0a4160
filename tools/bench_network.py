"""The measurements of `bench` that evaluate full-size networks, random, on 16 frames of 20x32 latents; each prints one line of JSON."""

import argparse
import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise

from .on_cpu import choose_cpu

TOKENS = 77  # of text
IMAGE_TOKENS = 16  # of each frame
# ComfyUI's own network of about the same sizes, for frames one by one
STOCK = {"cinemo": "sd15", "dynamicrafter": "sd21", "animate_anyone": "sd15"}

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=("time", "memory", "profile", "sampling", "arithmetic", "formats"))
parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
parser.add_argument("--network", choices=(*STOCK, *STOCK.values()), default="cinemo")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--size", type=int, nargs=3, metavar=("FRAMES", "HEIGHT", "WIDTH"), help="another clip, in latents")
options = parser.parse_args()
if options.device == "cpu":
    choose_cpu()  # before anything of ComfyUI that chooses a device

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.patcher_extension
import psutil
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch.utils.flop_counter import FlopCounterMode

from cinemo_core.comfyui.animate_anyone.model import AnimateAnyoneNetwork
from cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, ClipCondition
from cinemo_core.comfyui.cinemo.model import CinemoNetwork, CinemoSupported
from cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_core.comfyui.dynamicrafter.model import DynamiCrafterNetwork

from .bench_parts import FRAMES, HEIGHT, WARM_UP, WIDTH, Run, banked, fill, seconds, seeded, synchronise
from .bench_sizes import ANIMATE_ANYONE, CINEMO, DYNAMICRAFTER

if options.size:
    FRAMES, HEIGHT, WIDTH = options.size
OURS = {
    "cinemo": (CinemoNetwork, CINEMO),
    "dynamicrafter": (DynamiCrafterNetwork, DYNAMICRAFTER),
    "animate_anyone": (AnimateAnyoneNetwork, ANIMATE_ANYONE),
}
# Sizes that only the families have.
NOT_STOCK = ("motion_dim", "gated", "projector", "variant", "pose_channels", "positions", "pose_guiders", "motion_heads")
DEVICE = torch.device("meta" if options.what == "arithmetic" else options.device)  # operations are counted from shapes alone
DTYPE = torch.float16 if options.device == "cuda" else torch.float32


def stock_config(family: str) -> dict:
    """ComfyUI's Stable Diffusion UNet of the sizes of one of the families, for images of 4 channels."""
    config = {name: value for name, value in OURS[family][1].unet_config().items() if name not in NOT_STOCK}
    linear = {"use_linear_in_transformer": True} if family == "dynamicrafter" else {}
    return config | {"in_channels": 4, "image_size": 32, "use_spatial_transformer": True} | linear


def make(name: str) -> Run:
    """The network `name` on ComfyUI's operations, as a call that evaluates it once on the same clip."""
    family = next(family for family in STOCK if name in (family, STOCK[family]))
    made = {"dtype": DTYPE, "device": DEVICE, "operations": comfy.ops.disable_weight_init}
    if name == family:
        network, config = OURS[family]
        return call(fill(network(**config.unet_config(), **made)), family, DTYPE)
    stock = fill(UNetModel(**stock_config(family), **made))
    x, timesteps, text, _ = inputs(family, DTYPE)
    texts = text.expand(FRAMES, -1, -1).contiguous()
    return lambda: stock(x, timesteps, texts, transformer_options={})


def inputs(family: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Callable[..., torch.Tensor]]:
    """A clip, its timesteps, a text, and what draws more."""
    generator = seeded(1, DEVICE)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=DEVICE).to(dtype)

    x, text = random(FRAMES, 4, HEIGHT, WIDTH), random(1, TOKENS, OURS[family][1].context_dim)
    return x, torch.full((FRAMES,), 501.0, device=DEVICE), text, random


def call(network: torch.nn.Module, family: str, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """An evaluation of a family's network on a clip in `dtype`."""
    x, timesteps, text, random = inputs(family, dtype)
    number, config = torch.tensor([24.0], device=DEVICE), OURS[family][1]
    if family == "cinemo":
        return lambda: network(x, timesteps, text, transformer_options={}, z0=x[:1], motion_ids=number)
    if family == "animate_anyone":
        poses, bank = [random(FRAMES, 3, 8 * HEIGHT, 8 * WIDTH)], [random(1, *size) for size in banked(config, HEIGHT * WIDTH)]
        return lambda: network(x, timesteps, text[:, :1], transformer_options={}, poses=poses, bank=bank)
    with_image, image = torch.cat([x, random(*x.shape)], dim=1), random(FRAMES, IMAGE_TOKENS, config.context_dim)
    return lambda: network(with_image, timesteps, text, transformer_options={}, image_tokens=image, fs=number)


def time_both() -> dict:
    """Evaluations in turn, so that a machine that slows down slows both."""
    networks = {"ours": make(options.network), "stock": make(STOCK[options.network])}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for i in range(WARM_UP + options.rounds):
        for name, run in networks.items():
            taken = seconds(run, DEVICE)
            if i >= WARM_UP:
                times[name].append(taken)
    return times | {"attention": comfy.ldm.modules.attention.optimized_attention.__name__}


class PeakMemory:
    """The largest memory of the process above its level at the start of the block, in MB; of the GPU where there is one."""

    def __enter__(self) -> "PeakMemory":
        self.process, self.done, self.peak = psutil.Process(), threading.Event(), 0
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
        else:
            self.start = self.process.memory_info().rss
            self.watcher = threading.Thread(target=self.watch)
            self.watcher.start()
        return self

    def watch(self) -> None:
        while not self.done.wait(0.001):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __exit__(self, *exception: object) -> None:
        if options.device == "cuda":
            self.peak = torch.cuda.max_memory_allocated()
        else:
            self.done.set()
            self.watcher.join()
        self.mb = (self.peak - self.start) / 1e6


def memory() -> dict:
    """Peak of the first evaluation on a CPU, where freed memory may stay with the process; of a later one on a GPU."""
    run = make(options.network)
    if options.device == "cuda":
        run()
    with PeakMemory() as used:
        run()
    return {"peak_mb": used.mb}


def arithmetic() -> dict:
    """Operations of one evaluation of each network, in GFLOP, counted on the meta device: no weights, and attention in its plain form."""
    counted = {}
    for name in (options.network, STOCK[options.network]):
        run = make(name)
        with FlopCounterMode(display=False) as counter:
            run()
        counted[name] = counter.get_total_flops() / 1e9
        del run
    return {"ours": counted[options.network], "stock": counted[STOCK[options.network]]}


def formats() -> dict:
    """The processor's seconds for evaluations that compute in float32 and in bf16, in turn, on one thread, and the error of the latter.

    Both on ComfyUI's casting operations from the same bf16 weights: what ComfyUI does on a CPU by itself, and with ModelComputeDtype.
    """
    torch.set_num_threads(1)  # with more, those that wait for others count too
    network, config = OURS[options.network]
    narrow = fill(network(**config.unet_config(), dtype=torch.float32, device=DEVICE, operations=comfy.ops.manual_cast)).bfloat16()
    runs = {str(dtype).removeprefix("torch."): call(narrow, options.network, dtype) for dtype in (torch.float32, torch.bfloat16)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, torch.Tensor] = {}
    for i in range(WARM_UP + options.rounds):
        for name, run in runs.items():
            start = time.process_time()
            found[name] = run()
            if i >= WARM_UP:
                times[name].append(time.process_time() - start)
    wide, short = (found[name].float() for name in ("float32", "bfloat16"))
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return times | {"error": float((short - wide).norm() / wide.norm()), "has_bf16": fast}


def profile() -> dict:
    run = make(options.network)
    run()
    with torch.profiler.profile(profile_memory=True) as profiler:
        run()
    order = "self_cuda_time_total" if options.device == "cuda" else "self_cpu_time_total"
    return {"table": profiler.key_averages().table(sort_by=order, row_limit=10, max_name_column_width=40)}


def sampling() -> dict:
    """Seconds of each step of the residual KSampler, and of the network within it."""
    config = CinemoSupported(CINEMO.unet_config())
    config.set_inference_dtype(DTYPE, None)
    model = config.get_model({}, device=DEVICE)
    model.device = DEVICE
    fill(model.diffusion_model)
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=DEVICE, offload_device=DEVICE)
    inside: list[float] = []
    ends: list[float] = []

    def watch(executor, *arguments, **more):
        synchronise(DEVICE)
        start = time.perf_counter()
        out = executor(*arguments, **more)
        synchronise(DEVICE)
        inside.append(time.perf_counter() - start)
        ends.append(time.perf_counter())
        return out

    patcher.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, watch)
    z0 = torch.randn(1, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, TOKENS, CINEMO.context_dim, generator=torch.Generator().manual_seed(1))
    conditioning = [[text, {CLIP_KEY: ClipCondition(z0, 90.0, FRAMES)}]]
    latent = {"samples": z0.repeat(FRAMES, 1, 1, 1)}
    steps = WARM_UP + options.rounds + 1
    sample_clip(patcher, conditioning, conditioning, latent, Sampling(0, steps, 1.0, "ddim", "cinemo_ddim"))
    whole = [after - before for before, after in pairwise(ends)]  # one evaluation a step at cfg 1
    return {"step": whole[WARM_UP:], "network": inside[1 + WARM_UP :]}


MEASUREMENTS = {
    "time": time_both,
    "memory": memory,
    "profile": profile,
    "sampling": sampling,
    "arithmetic": arithmetic,
    "formats": formats,
}

if __name__ == "__main__":
    with torch.inference_mode():
        print(json.dumps(MEASUREMENTS[options.what]()))
