"""Measures speed and memory, as ratios within one run: absolute times of one machine say little about another.

    python dev.py bench [--device cpu|cuda] [--only a,b,c,d,e,f,g] [--rounds N]

a  one full-size evaluation of each network on 16 frames against ComfyUI's own Stable Diffusion UNet of its sizes (Cinemo and Animate
   Anyone: 1.5; DynamiCrafter: 2.1; extra layers, and keys of a reference picture, are allowed for): time and peak memory above weights
   and, as a note next to the time, the arithmetic of both, counted from shapes
b  what sampling spends outside the network, as a share of a step
c  importing the pack, as a share of ComfyUI's own import
d  loading a full-size float16 file, Cinemo's UNet and a whole DynamiCrafter checkpoint: time against reading its bytes, and peak memory
   against the file's size
e  Animate Anyone: what making the conditioning takes, as a share of a run of 25 steps with guidance, extrapolated from single evaluations;
   and the weights held while a clip is sampled, as a share of those with ReferenceNet held too
f  one evaluation of each network computing in bf16 on a CPU, as the stock node ModelComputeDtype asks for, against float32, which is
   ComfyUI's own choice there, both from bf16 weights: the processor's time on one thread, and the error. The bar of time holds for
   processors with instructions for it (AVX-512 BF16, AMX)
g  memory on a CPU: what decoding with the temporal VAE adds, against ComfyUI's own blocks of it; the peak of a whole run of Cinemo at
   512x320 and 16 frames, from loading to decoding, against that of its sampling, from a float16 checkpoint as it is

Every measurement runs in a process of its own. The last line is the verdict; the exit status is 1 where a bar is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .console import DevError, say
from .environment import LAUNCH

# family: what it is compared with, and the bars of time and memory. DynamiCrafter's bar of time is that of its published network's
# arithmetic: it does 1.66 times the operations of its stock network (1.68 where attention's products on a CPU are left out), so nothing
# lower can be asked.
NETWORKS = {"cinemo": ("sd15", 1.0, 1.0), "dynamicrafter": ("sd21", 1.7, 1.1), "animate_anyone": ("sd15", 1.6, 1.1)}
STEPS = 25  # of an Animate Anyone run, its workflows' number


@dataclass
class Result:
    """One measured quantity and its bar; `note` says what the number is made of."""

    name: str
    value: float
    bar: float
    unit: str
    note: str

    @property
    def holds(self) -> bool:
        return self.value <= self.bar

    def __str__(self) -> str:
        return f"{self.name:<34}{self.value:>8.2f} {self.unit:<3} (bar {self.bar:g})  {'holds' if self.holds else 'MISSED'}  {self.note}"


def measure(module: str, *arguments: str) -> dict:
    """Run one measurement in its own process; its last line of output is JSON."""
    done = subprocess.run([sys.executable, str(LAUNCH), module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevError(f"The measurement {module} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def network(device: str, rounds: int) -> Iterator[Result]:
    for family, (stock, time_bar, memory_bar) in NETWORKS.items():
        about = ("--device", device, "--network", family)
        times = measure("tools.bench_network", "time", *about, "--rounds", str(rounds))
        ratios = [ours / theirs for ours, theirs in zip(times["ours"], times["stock"], strict=True)]
        counted = measure("tools.bench_network", "arithmetic", *about)
        work = f"arithmetic {counted['ours'] / counted['stock']:.2f}x"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f} over {rounds} pairs; attention {times['attention']}; {work}"
        ours, theirs = (measure("tools.bench_network", "memory", *about[:3], name)["peak_mb"] for name in (family, stock))
        both = [
            Result(f"a  {family}, time", median(ratios), time_bar, "x", spread),
            Result(f"a  {family}, peak memory", ours / theirs, memory_bar, "x", f"{ours:.0f} MB against {theirs:.0f} MB above weights"),
        ]
        if not all(result.holds for result in both):
            say(measure("tools.bench_network", "profile", *about)["table"])
        yield from both


def sampling(device: str, rounds: int) -> list[Result]:
    steps = measure("tools.bench_network", "sampling", "--device", device, "--rounds", str(rounds))
    shares = [100 * (1 - inside / whole) for inside, whole in zip(steps["network"], steps["step"], strict=True)]
    return [Result("b  outside the network, per step", median(shares), 2.0, "%", f"of {median(steps['step']):.2f} s a step")]


def importing(device: str, rounds: int) -> list[Result]:
    runs = [measure("tools.bench_load", "import") for _ in range(max(3, rounds))]
    slow = sorted({name for run in runs for name in run["slow"]})
    if slow:
        raise DevError(f"Importing the pack imports {', '.join(slow)}, which nothing needs before a node runs.")
    shares = [100 * run["pack"] / run["comfyui"] for run in runs]
    times = f"{1000 * median(run['pack'] for run in runs):.0f} ms of {median(run['comfyui'] for run in runs):.1f} s"
    note = f"{min(shares):.2f} to {max(shares):.2f} over {len(shares)} starts; {times}, of the processor's time"
    return [Result("c  importing, share of ComfyUI's", median(shares), 1.5, "%", note)]


def loading(device: str, rounds: int) -> list[Result]:
    return [*loading_of("cinemo", "Cinemo's UNet", device, rounds), *loading_of("dynamicrafter", "DynamiCrafter's file", device, rounds)]


def loading_of(model: str, words: str, device: str, rounds: int) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        file = ("--model", model, "--file", str(Path(folder) / "weights.safetensors"))
        size = measure("tools.bench_load", "write", *file)["mb"]
        loads, reads = [], []
        for _ in range(rounds):  # in turn, each in a fresh process, the file in the system's cache for both
            loads.append(measure("tools.bench_load", "load", *file, "--device", device))
            reads.append(measure("tools.bench_load", "read", *file)["seconds"])
    ratios = [load["seconds"] / read for load, read in zip(loads, reads, strict=True)]
    peak = median(load["peak_mb"] for load in loads)
    note = f"{min(ratios):.2f} to {max(ratios):.2f} over {rounds} pairs; loading includes touching every page of the weights"
    return [
        Result(f"d  {words}, time", median(ratios), 1.5, "x", note),
        Result(f"d  {words}, peak", peak / size, 1.15, "x", f"{peak:.0f} MB of {size:.0f} MB, mapped pages counted"),
    ]


def reference_picture(device: str, rounds: int) -> Iterator[Result]:
    about = ("--device", device)
    runs = measure("tools.bench_animate_anyone", "conditioning", *about, "--rounds", str(rounds))
    encoder, reference, positive, negative = (median(runs[name]) for name in ("encoder", "reference", "positive", "negative"))
    once, steps = encoder + reference, STEPS * (positive + negative)
    parts = f"image encoder {encoder:.2f} s, ReferenceNet {reference:.2f} s, evaluations {positive:.1f} and {negative:.1f} s"
    note = f"{parts}; {STEPS} steps are extrapolated from {rounds} of each; without the VAE"
    yield Result("e  conditioning, share of a run", 100 * once / (once + steps), 1.0, "%", note)
    held = measure("tools.bench_animate_anyone", "held", *about)
    sampling = sum(size for name, size in held.items() if name != "reference")
    note = "counted from the tensors; MB: " + ", ".join(f"{name} {size / 1e6:.0f}" for name, size in held.items())
    yield Result("e  held while sampling", sampling / (sampling + held["reference"]), 0.65, "x", note)


def formats(device: str, rounds: int) -> Iterator[Result]:
    if device != "cpu":
        return  # ComfyUI chooses the format of a GPU by itself
    for family in NETWORKS:
        found = measure("tools.bench_network", "formats", "--network", family, "--rounds", str(rounds))
        ratios = [narrow / wide for narrow, wide in zip(found["bfloat16"], found["float32"], strict=True)]
        note = f"{min(ratios):.2f} to {max(ratios):.2f} over {rounds} pairs; float32 takes {median(found['float32']):.1f} s on one thread"
        bar = 1.0 if found["has_bf16"] else float("inf")
        yield Result(f"f  {family}, bf16 time", median(ratios), bar, "x", note if found["has_bf16"] else f"{note}; no bf16 instructions")
        yield Result(f"f  {family}, bf16 error", 100 * found["error"], 2.0, "%", "of the prediction, against float32; random weights")


def memory(device: str, rounds: int) -> Iterator[Result]:
    if device != "cpu":
        return  # there ComfyUI's own blocks run
    ours, stock = (measure("tools.bench_whole_run", "decode", "--blocks", blocks) for blocks in ("ours", "stock"))
    note = f"{ours['peak_mb']:.0f} MB against {stock['peak_mb']:.0f} MB, 14 frames of 160x128; processor's time "
    note += f"{ours['processor_seconds'] / stock['processor_seconds']:.2f}x"
    yield Result("g  temporal decoder, peak memory", ours["peak_mb"] / stock["peak_mb"], 0.7, "x", note)
    with tempfile.TemporaryDirectory() as folder:
        size = measure("tools.bench_whole_run", "write", "--folder", folder)["mb"]
        found = measure("tools.bench_whole_run", "stages", "--folder", folder, "--dtype", "fp16")
    peaks = ", ".join(f"{name} {stage['peak_mb'] / 1000:.1f} (then held {stage['held_mb'] / 1000:.1f})" for name, stage in found.items())
    whole = max(stage["peak_mb"] for stage in found.values())
    yield Result(
        "g  whole run, peak memory", whole / found["sample"]["peak_mb"], 2.5, "x", f"files {size / 1000:.1f} GB; peaks in GB: {peaks}"
    )


SECTIONS: dict[str, Callable[[str, int], Iterable[Result]]] = {
    "a": network,
    "b": sampling,
    "c": importing,
    "d": loading,
    "e": reference_picture,
    "f": formats,
    "g": memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to run, such as a,c")
    parser.add_argument("--rounds", type=int, default=3, help="times each comparison is repeated")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := [name for name in wanted if name not in SECTIONS]:
        parser.error(f"there is no section {', '.join(unknown)}; choose from {', '.join(SECTIONS)}")
    results = []
    for name in wanted:
        for result in SECTIONS[name](options.device, options.rounds):
            results.append(result)
            say(result)
    missed = [result.name.split(",")[0] for result in results if not result.holds]
    say(f"verdict: {len(results) - len(missed)} of {len(results)} bars hold" + (f"; missed: {'; '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
