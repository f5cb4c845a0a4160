"""Runs of the trainer as people start them: configuration files, processes, and the losses that they leave."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def write_toml(table: dict, path: Path) -> Path:
    lines = []
    for section, keys in table.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {to_toml(value)}" for key, value in keys.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def to_toml(value) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[" + ", ".join("{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in item.items()) + "}" for item in value) + "]"
    return json.dumps(value)


def losses(output: str | Path) -> list[dict]:
    return [json.loads(line) for line in (Path(output) / "losses.jsonl").read_text().splitlines()]


def with_output(table: dict, folder: Path, **run) -> dict:
    return table | {"run": table["run"] | {"output": str(folder)} | run}


def start(root: Path, toml: Path, *launcher: str) -> subprocess.Popen:
    """The command as people run it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", *launcher, "cinemo_core.training", str(toml)]
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def losses_so_far(output: Path) -> list[str]:
    return (output / "losses.jsonl").read_text().splitlines()


def wait_for_step(process: subprocess.Popen, output: Path, step: int) -> None:
    while process.poll() is None:
        time.sleep(0.02)
        if (output / "losses.jsonl").is_file() and len(losses_so_far(output)) >= step:
            return
    pytest.fail(f"the run ended before step {step}: {process.stderr.read()}")
