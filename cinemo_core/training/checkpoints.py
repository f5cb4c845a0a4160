"""Checkpoints of a run: whole or not there, the last few kept, and the configuration that they belong to."""

import json
import os
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from .config import Config

CONFIG = "config.json"
# Keys that may change between two parts of a run: they do not touch what a step computes.
FREE = {
    "run.steps",
    "run.log_every",
    "run.checkpoint_every",
    "run.keep",
    "data.workers",
    "data.cache_folder",
    "model.gradient_checkpointing",
    "model.vae_temporal_decoder",
}
FREE_SECTIONS = {"validation", "export"}


class Progress:
    """How far a run is; kept in its checkpoints. position: the next example."""

    def __init__(self) -> None:
        self.step = 0
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step, self.position = state["step"], state["position"]


def claim_output(config: Config) -> None:
    """Write the configuration into the output folder. Raises InputError if checkpoints of another one are there."""
    check_same(config)
    path = config.output / CONFIG
    config.output.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(config.as_dict(), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def check_same(config: Config) -> None:
    """Raise InputError if the checkpoints in the output folder are of another configuration."""
    path = config.output / CONFIG
    if path.is_file() and find_checkpoints(config.output):
        changed = differences(json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(config.as_dict())))
        if changed:
            raise InputError(
                f"{config.output} holds a run with another {', '.join(changed)}; "
                "choose another run.output, or that run's values to resume it."
            )


def differences(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """Keys on which two configurations differ in a way that changes the run; a key that the old one lacks had its default.

    Paths are compared as seen from the output folder, so a run may be moved together with what it uses.
    """
    before, after = from_output(old), from_output(new)
    found = []
    for section in fields(Config):
        if section.name not in FREE_SECTIONS:
            for key in fields(cast(type, section.type)):
                default = list(key.default) if isinstance(key.default, tuple) else key.default
                if before.get(section.name, {}).get(key.name, default) != after[section.name][key.name]:
                    found.append(f"{section.name}.{key.name}")
    return [name for name in found if name not in FREE]


def from_output(config: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same with its absolute paths as seen from its output folder."""
    output = config["run"]["output"]
    return {name: {k: os.path.relpath(v, output) if is_path(v) else v for k, v in keys.items()} for name, keys in config.items()}


def is_path(value: Any) -> bool:
    return isinstance(value, str) and os.path.isabs(value)


def find_checkpoints(output: Path) -> list[Path]:
    """Whole checkpoints of a run, the oldest first."""
    return sorted(p for p in (output / "checkpoints").glob("step-*") if re.fullmatch(r"step-\d{8}", p.name))


def save_checkpoint(accelerator: Any, output: Path, step: int, keep: int) -> Path:
    """Save everything that a run resumes from; all processes call this together."""
    folder = output / "checkpoints" / f"step-{step:08}"
    partial = folder.with_name(f".{folder.name}.part")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        to_disk(partial)
        os.replace(partial, folder)
        to_disk(folder.parent)
        for old in find_checkpoints(output)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return folder


def to_disk(folder: Path) -> None:
    """Wait until files and names are on the disk, so that not even a power cut leaves half a file under its full name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files if os.name == "nt" else [*files, folder]:  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_partial(output: Path) -> None:
    """Remove what a killed run left half written."""
    for path in (output / "checkpoints").glob(".step-*.part"):
        shutil.rmtree(path)
