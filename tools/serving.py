"""Runs workflows on several ComfyUI servers, behind one queue of Dask's: see docs/serving.md.

    python -m tools.serving SCHEDULER WORKFLOW.json [--images PICTURE ...] [--seeds N] [--out FOLDER]

A worker of Dask's is named after the server that it feeds, so that a job knows where it runs.
"""

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import Client, Workflow, WorkflowError
from .console import DevError

PICTURE = "LoadImage"
SEEDS = ("seed", "noise_seed")


@dataclass(frozen=True)
class Job:
    """A workflow in API format. picture: file name and content of what its Load Image node is to load, or None for what it names."""

    name: str
    workflow: Workflow
    picture: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Result:
    """What came of a job: the files that its nodes wrote, by name, the server that it ran on, or the error in a sentence."""

    job: str
    server: str
    files: dict[str, bytes]
    error: str = ""


def jobs(path: Path, pictures: Sequence[Path], seeds: int) -> Iterator[Job]:
    """The workflow once for every picture and every seed from 0 on; with one seed it keeps its own."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    for picture in pictures or (None,):
        for seed in range(seeds):
            name = "_".join([path.stem, *([picture.stem] if picture else []), *([str(seed)] if seeds > 1 else [])])
            wanted = with_seed(workflow, seed) if seeds > 1 else workflow
            yield Job(name, wanted, (picture.name, picture.read_bytes()) if picture else None)


def with_seed(workflow: Workflow, seed: int) -> Workflow:
    changed = copy.deepcopy(workflow)
    for node in changed.values():
        node["inputs"] |= {name: seed for name in SEEDS if isinstance(node["inputs"].get(name), int)}
    return changed


def run(job: Job) -> Result:
    """Run a job on the server of this Dask worker.

    A workflow that is refused or fails gives the error as its result: another server would say the same. Where the server went
    away, the worker leaves the queue and the job goes to another.
    """
    from distributed import Reschedule, get_worker

    worker = get_worker()
    try:
        return run_on(str(worker.name), job)
    except DevError as error:
        print(f"{worker.name} leaves the queue: {error}", file=sys.stderr)
        worker.loop.add_callback(worker.close, reason=str(error))
        raise Reschedule from error


def run_on(url: str, job: Job) -> Result:
    """Run a job on the server at this address. Raises DevError where it does not answer."""
    client, workflow = Client(url), copy.deepcopy(job.workflow)
    if job.picture is not None:
        name = client.upload_bytes(*job.picture)
        for node in workflow.values():
            if node["class_type"] == PICTURE:
                node["inputs"]["image"] = name
    try:
        outputs = client.run(workflow)
    except WorkflowError as error:
        return Result(job.name, url, {}, str(error))
    return Result(job.name, url, {file["filename"]: client.fetch(file) for file in saved(outputs)})


def saved(outputs: dict[str, dict[str, Any]]) -> Iterator[dict[str, str]]:
    """The files among the outputs of a run, without those that only serve the preview."""
    for node in outputs.values():
        for listed in node.values():
            yield from (file for file in listed if isinstance(file, dict) and file.get("type") == "output")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving", description="Run a workflow on several ComfyUI servers.")
    parser.add_argument("scheduler", help="address of Dask's scheduler, such as tcp://127.0.0.1:8786")
    parser.add_argument("workflow", type=Path, help="in API format (Export (API) in ComfyUI)")
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="pictures for its Load Image node, a job for each")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run it with, from 0 on")
    parser.add_argument("--out", type=Path, default=Path("output"), help="folder for the files that it saves")
    options = parser.parse_args()
    from distributed import Client as Queue
    from distributed import as_completed

    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with Queue(options.scheduler) as queue:
        waiting = queue.map(run, list(jobs(options.workflow, options.images, options.seeds)), pure=False)
        for done in as_completed(waiting):
            result = done.result()
            failed += bool(result.error)
            print(f"{result.job} on {result.server}: {result.error or ', '.join(result.files)}", flush=True)
            for name, content in result.files.items():
                (options.out / f"{result.job}_{name}").write_bytes(content)
    return 1 if failed else 0


if __name__ == "__main__":
    from tools import serving

    sys.exit(serving.main())  # so that the workers find what they are to run by this name
