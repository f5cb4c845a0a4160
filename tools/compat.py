"""Runs the smoke tests against checkouts of ComfyUI, each with its own Python, and prints a line for each. Standard library only."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .console import DevError, say
from .environment import ROOT

# The pack is imported and its nodes are offered, every workflow runs, a model is loaded from every layout.
SMOKE = ("tests/server/test_client.py", "tests/server/test_workflows.py", "tests/comfy/test_bundle.py", "tests/comfy/test_nodes.py")


def try_checkouts(checkouts: Sequence[str], install: bool) -> int:
    """0 if the smoke tests pass on all of them. Raises DevError where none is given."""
    if not checkouts:
        raise DevError("No checkout was given; name one or more folders with ComfyUI's main.py: python dev.py compat CHECKOUT...")
    command = [sys.executable, str(ROOT / "dev.py"), *(["--install"] if install else []), "test", *SMOKE, "-q"]
    codes = {}
    for checkout in checkouts:
        say(f"* {checkout}")
        codes[checkout] = subprocess.run(command, env=os.environ | {"COMFYUI_PATH": os.path.abspath(checkout)}, check=False).returncode
    for checkout, code in codes.items():
        print(f"{checkout} ({version(Path(checkout))}): {'failed' if code else 'passed'}")
    return 1 if any(codes.values()) else 0


def version(comfyui: Path) -> str:
    """What the checkout says of itself."""
    file = comfyui / "comfyui_version.py"
    return file.read_text(encoding="utf-8").split("=")[-1].strip().strip('"') if file.is_file() else "no ComfyUI"
