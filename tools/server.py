"""Starts the real ComfyUI, headless, with this pack linked in, on a loopback port; waits until it answers; stops it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .console import DevError
from .environment import ROOT
from .on_cpu import command_line

PACK = "cinemo"  # the pack's folder name in custom_nodes
START_SECONDS = 300  # the very first start compiles every module of ComfyUI; a slow disk makes it minutes
STOP_SECONDS = 20


class Server:
    """A ComfyUI that lives as long as the `with` block.

    Everything it writes goes to `base`, its base directory. `checkpoints` are folders in diffusers layout by the name under which
    models/diffusers offers them; they are linked, not copied. Its messages go to `log`, or to the terminal if that is None.
    """

    def __init__(
        self, comfyui: Path, base: Path, checkpoints: Mapping[str, Path] | None = None, *, port: int | None = None, log: Path | None = None
    ):
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self.base = base
        self.log = log
        self.comfyui = comfyui
        self.links = {
            base / "custom_nodes" / PACK: ROOT,
            **{base / "models" / "diffusers" / name: path for name, path in (checkpoints or {}).items()},
        }
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Server":
        check_port(self.port)
        for place, target in self.links.items():
            link(place, target)
        with self.log.open("wb") if self.log else contextlib.nullcontext() as output:
            self.process = subprocess.Popen(self.command(), cwd=self.comfyui, stdout=output, stderr=subprocess.STDOUT if output else None)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def command(self) -> list[str]:
        address = ["--listen", "127.0.0.1", "--port", str(self.port)]
        isolation = ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        device = [] if has_gpu() else command_line()
        return [sys.executable, str(self.comfyui / "main.py"), *address, *isolation, *device, "--preview-method", "auto"]

    def wait_until_ready(self) -> None:
        """Return once the server answers and offers the pack's nodes."""
        deadline = time.monotonic() + START_SECONDS
        while (nodes := self.nodes()) is None:
            if self.process is None or self.process.poll() is not None:
                raise DevError(f"ComfyUI stopped while starting: {self.last_message()}")
            if time.monotonic() > deadline:
                raise DevError(f"ComfyUI did not answer within {START_SECONDS} s: {self.last_message()}")
            time.sleep(0.2)
        if not any(node["python_module"] == f"custom_nodes.{PACK}" for node in nodes.values()):
            raise DevError(f"ComfyUI could not import the pack: {self.last_message('Cannot import ', 'Error while calling ')}")

    def nodes(self) -> dict[str, Any] | None:
        """What /object_info says of every node, None while nothing answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/object_info", timeout=60) as response:
                return json.load(response)
        except OSError:
            return None

    def last_message(self, *starts: str) -> str:
        """The last line of the log, or the last that has one of these beginnings, and where the log is."""
        if self.log is None:
            return "see its messages above."
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        wanted = [line for line in lines if any(start in line for start in starts)] or lines
        return f"{wanted[-1] if wanted else 'it wrote nothing'} (all of it: {self.log})"

    def stop(self) -> None:
        """End the process and remove the link to the pack, so that deleting `base` can never reach the repository."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(stop_signal())
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for place in self.links:
            unlink(place)


def stop_signal() -> signal.Signals:
    """What ends a program that was started here: SIGINT, on which ComfyUI tidies up, unless the program ignores it.

    A job that a shell puts in the background ignores SIGINT, and so does everything that it starts. Windows has none to send.
    """
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return signal.SIGTERM if ignored or os.name == "nt" else signal.SIGINT


def has_gpu() -> bool:
    """Whether torch sees a device that ComfyUI can use without an option."""
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port(port: int) -> None:
    """Refuse a port that another program listens on, or that needs rights that we lack."""
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free; on Windows it means another thing
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise DevError(f"Port {port} cannot be used ({error}); choose another with --port, or stop the program that has it.") from None


def link(place: Path, target: Path) -> None:
    """Make `place` lead to the folder `target`: a symbolic link, on Windows a junction, which needs no rights."""
    if place.exists() and place.samefile(target):
        return
    unlink(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":
        make_junction(place, target)
    else:
        place.symlink_to(target, target_is_directory=True)


def make_junction(place: Path, target: Path) -> None:
    """Windows' link between folders. The paths are quoted for cmd, and in variables, where it leaves &, ^ and % as they are."""
    paths = {"CINEMO_PLACE": str(place), "CINEMO_TARGET": str(target)}
    command = 'cmd /d /v:off /c mklink /J "%CINEMO_PLACE%" "%CINEMO_TARGET%"'
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise DevError(f"{place} cannot be linked to {target} ({done.stderr.strip()}); put this folder on an NTFS disk.")


def unlink(place: Path) -> None:
    """Remove a link made by `link`, never what it leads to."""
    if os.name == "nt" and os.path.lexists(place):
        place.rmdir()  # removes a junction, refuses a folder with content
    elif place.is_symlink():
        place.unlink()
