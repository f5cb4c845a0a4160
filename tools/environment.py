"""The Python environment and the ComfyUI that the commands of `dev.py` run in. Standard library only.

Without COMFYUI_PATH both are the project's own: `.venv` with the pins of `requirements/`, and the pinned ComfyUI in `.comfyui`.
With it they are the user's, and nothing is installed into them unless asked. All steps can be repeated and interrupted.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .console import DevError, say
from .packages import GIGABYTES, run_pip
from .source import obtain_comfyui

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
COMFYUI = ROOT / ".comfyui" / "ComfyUI"
REQUIREMENTS = ROOT / "requirements"
LAUNCH = ROOT / "tools" / "launch.py"
OLDEST_COMFYUI = "0.27.0"  # requires-comfyui in pyproject.toml
PYTHON_VERSIONS = ((3, 10), (3, 14))


@dataclass(frozen=True)
class Environment:
    """An interpreter, and the ComfyUI that it runs."""

    python: Path
    comfyui: Path

    def run(
        self, *arguments: str | Path, folder: Path | None = None, with_path: bool = False, variables: Mapping[str, str] | None = None
    ) -> int:
        """Run this interpreter, in `folder`, and give its exit code; `with_path` makes ComfyUI and this repository importable.

        `variables` are set on top of this process's own.
        """
        environment = {**os.environ, "COMFYUI_PATH": str(self.comfyui), **(variables or {})}
        if with_path:
            environment["PYTHONPATH"] = os.pathsep.join([str(self.comfyui), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen([str(self.python), *map(str, arguments)], cwd=folder, env=environment)
        previous = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    continue  # the child has it too, and is shutting down
        finally:
            signal.signal(signal.SIGTERM, previous)

    def run_module(self, module: str, *arguments: str | Path) -> int:
        """Run a module that imports ComfyUI or this repository."""
        return self.run(LAUNCH, module, *arguments)


def prepare(dev: Iterable[str] = (), *, comfyui: bool = True, install: bool = False) -> Environment:
    """The environment, ready for use. `dev` names the packages beyond ComfyUI's own that are needed; `install` allows adding them."""
    chosen = os.environ.get("COMFYUI_PATH")
    if chosen and Path(chosen).expanduser().resolve() != COMFYUI.resolve():
        return user_environment(Path(chosen).expanduser().resolve(), list(dev), install)
    return own_environment(dev=bool(dev), comfyui=comfyui)


def current_comfyui() -> Path:
    """The ComfyUI that this process works with: COMFYUI_PATH, which every command sets for what it starts, else the project's own."""
    return Path(os.environ.get("COMFYUI_PATH", COMFYUI))


def own_environment(*, dev: bool, comfyui: bool) -> Environment:
    check_python(sys.version_info[:2])
    python = ensure_venv(VENV)
    for name in ("runtime", "dev") if dev else ("runtime",):
        ensure_pins(python, REQUIREMENTS / f"{name}.txt")
    if comfyui:
        obtain_comfyui(COMFYUI, REQUIREMENTS / "comfyui.txt", python)
    return Environment(python, COMFYUI)


def check_python(version: tuple[int, ...]) -> None:
    oldest, newest = PYTHON_VERSIONS
    if not oldest <= version <= newest:
        raise DevError(
            f"This is Python {version[0]}.{version[1]}; the pinned packages exist for {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}: "
            "run dev.py with one of those."
        )


def ensure_venv(folder: Path) -> Path:
    """The interpreter of the virtual environment, which is made if it is missing or does not run."""
    python = interpreter(folder)
    if python.exists() and succeeds([python, "-m", "pip", "--version"]):
        return python
    free = shutil.disk_usage(folder.parent).free / 1e9
    if free < GIGABYTES:
        raise DevError(
            f"{folder.parent} has {free:.1f} GB of free disk space, the environment needs about {GIGABYTES}: free some and run again."
        )
    say(f"* creating the virtual environment {folder}")
    if not succeeds([sys.executable, "-m", "venv", "--clear", folder]):
        raise DevError(
            f"{sys.executable} cannot make a virtual environment; install its venv module (Debian, Ubuntu: apt install python3-venv)."
        )
    return python


def ensure_pins(python: Path, requirements: Path) -> None:
    """Install a requirements file, unless the stamp in the environment says that this very file is installed."""
    stamp = python.parent.parent / f".pins-{requirements.stem}"
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == pins:
        return
    say(f"* installing the packages of {requirements} (the first time takes some minutes)")
    how = ["--only-binary", ":all:", "--require-hashes"]
    run_pip(python, "install", *how, "--requirement", requirements, task=f"Installing {requirements.name}")
    stamp.write_text(pins)


def user_environment(comfyui: Path, packages: list[str], install: bool) -> Environment:
    """The ComfyUI at COMFYUI_PATH and the Python that it runs in: one next to it, else this one."""
    version = version_of(comfyui)
    if not (comfyui / "main.py").exists() or not version:
        raise DevError(
            f"COMFYUI_PATH is {comfyui}, which holds no ComfyUI; give the folder with its main.py, or unset it for the pinned one."
        )
    if numbers(version) < numbers(OLDEST_COMFYUI):
        raise DevError(f"{comfyui} is ComfyUI {version}, expected {OLDEST_COMFYUI} or newer: update it, or unset COMFYUI_PATH.")
    python = next(filter(Path.exists, interpreters_near(comfyui)), Path(sys.executable))
    missing = missing_packages(python, ["torch", "aiohttp", "safetensors"])
    if missing:
        raise DevError(
            f"{python} lacks {', '.join(missing)}, so it is not what runs {comfyui}, and there is no venv next to that folder: "
            "run dev.py with the Python that runs ComfyUI."
        )
    missing = missing_packages(python, packages)
    if missing and not install:
        raise DevError(f"{python} lacks {', '.join(missing)}; allow installing them with: python dev.py --install {' '.join(sys.argv[1:])}")
    if missing:
        say(f"* installing {', '.join(missing)} for {python}")
        run_pip(python, "install", "--only-binary", ":all:", *missing, task=f"Installing {', '.join(missing)}")
    return Environment(python, comfyui)


def version_of(comfyui: Path) -> str:
    """What a checkout says of itself; empty where it says nothing."""
    file = comfyui / "comfyui_version.py"
    return file.read_text(encoding="utf-8").split("=")[-1].strip().strip('"') if file.is_file() else ""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def interpreters_near(comfyui: Path) -> list[Path]:
    """Where a ComfyUI keeps its own Python: a virtual environment in it or next to it, or the portable Windows build's."""
    folders = [parent / name for parent in (comfyui, comfyui.parent) for name in ("venv", ".venv")]
    return [*map(interpreter, folders), comfyui.parent / "python_embeded" / "python.exe"]


def interpreter(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def missing_packages(python: Path, packages: list[str]) -> list[str]:
    """Those of the packages that this interpreter has not installed."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps([p for p in sys.argv[1:] if not list(m.distributions(name=p))]))"
    return json.loads(subprocess.run([str(python), "-c", code, *packages], stdout=subprocess.PIPE, check=True).stdout)


def succeeds(command: list[str | Path]) -> bool:
    """Whether a command can be started and ends well; its output is not shown."""
    try:
        return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0
    except OSError:
        return False
