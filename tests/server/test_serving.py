"""Several servers behind one queue: every job ends, also those of a server or a worker that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cinemo_pack.tests.workflows.small import shrink
from cinemo_pack.tools.client import Client
from cinemo_pack.tools.environment import ROOT
from cinemo_pack.tools.server import Server, free_port
from distributed import Client as Queue

SEEDS = 6
LIMIT = 300  # seconds


@pytest.fixture
def second(comfyui, server, tmp_path) -> Iterator[Server]:
    """Another server, that a test may kill."""
    with Server(comfyui, tmp_path / "second", log=tmp_path / "second.log") as running:
        yield running


@pytest.fixture
def queue(tmp_path) -> Iterator[Callable]:
    """A scheduler of Dask's; the function starts a worker for a server and gives its process, the address is `address`."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with ExitStack() as started:

        def start(program: str, *options: str) -> subprocess.Popen:
            command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--host", "127.0.0.1", "--no-dashboard", *options]
            log = started.enter_context((tmp_path / f"{program}_{len(list(tmp_path.glob('*.log')))}.log").open("w"))
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            started.callback(end, process)
            return process

        def worker(server: Server) -> subprocess.Popen:
            folder = str(tmp_path / "dask")
            return start("worker", address, "--name", server.url, "--nthreads", "1", "--no-nanny", "--local-directory", folder)

        start("scheduler", "--port", address.rpartition(":")[2])
        worker.address = address
        yield worker


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def render(queue, workflow, tmp_path) -> Callable[..., subprocess.Popen]:
    """Starts the command for a small workflow."""

    def start(*options: str, **changed: str | int) -> subprocess.Popen:
        graph = shrink(workflow("image_to_video"), "auto")
        for node in graph.values():
            node["inputs"] |= {name: value for name, value in changed.items() if name in node["inputs"]}
        (tmp_path / "clip.json").write_text(json.dumps(graph))
        command = [
            sys.executable,
            "-m",
            "tools.serving",
            queue.address,
            str(tmp_path / "clip.json"),
            "--out",
            str(tmp_path / "out"),
            *options,
        ]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    return start


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("killed", ["server", "worker"])
def test_jobs_of_what_is_killed_run_on_the_other_server(server, second, queue, render, comfyui, tmp_path, killed):
    left = queue(second)
    queue(server)
    with Queue(queue.address, timeout=60) as client:
        client.wait_for_workers(2, timeout=120)
    process = render("--seeds", str(SEEDS), "--images", str(comfyui / "input" / "example.png"), steps=20)
    wait_until(lambda: Client(second.url).get("/queue")["queue_running"])
    process_of = {"server": second.process, "worker": left}
    process_of[killed].send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    printed, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, printed
    lines = printed.splitlines()
    assert sorted(line.partition(" on ")[0] for line in lines) == [f"clip_example_{seed}" for seed in range(SEEDS)]
    assert sum(server.url in line for line in lines) >= SEEDS - 1  # the second may have ended one before
    assert len({path.read_bytes() for path in Path(tmp_path / "out").glob("*.mp4")}) == SEEDS  # of different seeds
    status = left.wait(LIMIT)
    assert killed == "worker" or status == 0  # a worker without its server leaves the queue by itself


def test_the_error_of_a_workflow_comes_back_and_is_not_tried_elsewhere(server, queue, render, tmp_path):
    queue(server)
    process = render(bundle="nobody's")
    printed, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert (
        printed.startswith(f"clip on {server.url}: ComfyUI refused the workflow: ") and "There is no checkpoint folder nobody's" in printed
    )
    assert not list((tmp_path / "out").iterdir())
