"""Runs the smoke tests against other ComfyUIs than the pinned one, and prints a line for each. Standard library only."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .console import say
from .environment import REQUIREMENTS, ROOT, own_environment, version_of
from .source import obtain_comfyui

# The pack is imported and its nodes are offered, every workflow runs, a model is loaded from every layout.
SMOKE = ("tests/server/test_client.py", "tests/server/test_workflows.py", "tests/comfy/test_bundle.py", "tests/comfy/test_nodes.py")
OLDEST = ROOT / ".comfyui" / "oldest"


def try_checkouts(checkouts: Sequence[str], install: bool) -> int:
    """0 if the smoke tests pass on all of them; where none is given, on the oldest ComfyUI that the pack claims to run on."""
    python, folders = (Path(sys.executable), [Path(checkout).absolute() for checkout in checkouts]) if checkouts else oldest()
    command = [str(python), str(ROOT / "dev.py"), *(["--install"] if install else []), "test", *SMOKE, "-q"]
    codes = {}
    for folder in folders:
        say(f"* {folder}")
        codes[folder] = subprocess.run(command, env=os.environ | {"COMFYUI_PATH": str(folder)}, check=False).returncode
    for folder, code in codes.items():
        print(f"{folder} ({version_of(folder) or 'no ComfyUI'}): {'failed' if code else 'passed'}")
    return 1 if any(codes.values()) else 0


def oldest() -> tuple[Path, list[Path]]:
    """The project's own Python, and the oldest ComfyUI from its pinned source, next to the pinned one."""
    python = own_environment(dev=True, comfyui=False).python
    obtain_comfyui(OLDEST, REQUIREMENTS / "comfyui-oldest.txt", python)
    return python, [OLDEST]
