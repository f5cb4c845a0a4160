"""Many runs in a row on one server: memory does not grow, nothing is left behind, two clients do not disturb each other.

`python dev.py test tests/server/test_soak.py --runs 200 -s` is the long form; it prints the slope.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from cinemo_pack.tests.workflows import frames_node
from cinemo_pack.tests.workflows.small import shrink
from cinemo_pack.tools.client import Client, WorkflowError
from cinemo_pack.tools.server import Server

MIXED = ("image_to_video", "custom_sampling", "video_to_video", "motion_transfer", "extend_video", "match_motion")
WARM = 12  # runs after which every workflow was there twice and ComfyUI's caches are full
GROWTH, LONG_GROWTH = 3.0, 0.5  # MB a run, in a short test and in one of LONG runs; memory settles slowly
LONG = 100
SEEDS = ("seed", "noise_seed")


@pytest.fixture(scope="module")
def fresh(comfyui, server, picture, video, tmp_path_factory) -> Iterator[Server]:
    """A server of its own, with the pictures and videos of the other one, and a folder for temporary files."""
    base = tmp_path_factory.mktemp("soak")
    shutil.copytree(server.base / "input", base / "input")
    (base / "system").mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(base / "system")
    try:
        with Server(comfyui, base, log=base / "comfyui.log") as running:
            yield running
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)


def seeded(graph: dict, seed: int) -> dict:
    """The graph with other seeds, so that nothing of it is cached."""
    for entry in graph.values():
        entry["inputs"] |= {name: seed for name in SEEDS if isinstance(entry["inputs"].get(name), int)}
    return graph


def test_memory_does_not_grow_and_nothing_is_left(fresh, workflow, request):
    runs, client = request.config.getoption("--runs"), Client(fresh.url)
    process, sizes, left = psutil.Process(fresh.process.pid), [], set()
    for run in range(max(runs, 2 * WARM)):
        client.run(seeded(shrink(workflow(MIXED[run % len(MIXED)]), "auto"), run))
        sizes.append(process.memory_info().rss / 1e6)
        left = leftovers(fresh.base) if run == WARM else left
    slope = float(np.polyfit(np.arange(len(sizes) - WARM), sizes[WARM:], 1)[0])
    print(f"\n{len(sizes)} runs: {sizes[0]:.0f} MB after the first, {sizes[-1]:.0f} MB after the last, slope {slope:+.3f} MB a run")
    assert slope < (LONG_GROWTH if runs >= LONG else GROWTH)
    assert leftovers(fresh.base) == left


def leftovers(base: Path) -> set[Path]:
    """Temporary files of the system and of ComfyUI, but for the previews that ComfyUI keeps until it ends."""
    found = {*(base / "system").rglob("*"), *(base / "temp").rglob("*")}
    return {path for path in found if path.is_file() and path.suffix not in {".png", ".webp"}}


def test_two_clients_at_once_get_their_own(fresh, workflow):
    def run(seed: int) -> bytes:
        client = Client(fresh.url)
        graph = seeded(shrink(workflow("image_to_video"), "image"), seed)
        node = frames_node(graph)
        return client.fetch(client.run(graph)[node]["images"][-1])

    alone = [run(seed) for seed in (901, 902)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, (901, 902)))
    assert together == alone and alone[0] != alone[1]


def test_a_failed_run_leaves_the_server_as_it_was(fresh, workflow):
    client = Client(fresh.url)
    graph = shrink(workflow("image_to_video"), "image")
    good = client.run(seeded(dict(graph), 77))
    (loader,) = (entry for entry in graph.values() if entry["class_type"] == "CinemoMotionConditioning")
    loader["inputs"]["motion_bucket"] = 20
    with pytest.raises(WorkflowError):
        client.run(seeded(graph, 78))
    loader["inputs"]["motion_bucket"] = 9
    again = client.run(seeded(graph, 77))
    node = frames_node(graph)
    assert len(again[node]["images"]) == len(good[node]["images"])
    assert Path(fresh.base / "output").is_dir()
