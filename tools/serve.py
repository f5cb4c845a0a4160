"""Runs ComfyUI for a person, with this pack, until Ctrl-C. Run by `python dev.py serve`."""

import argparse
import shutil

from .console import DevError, say
from .environment import ROOT, current_comfyui
from .server import Server, check_port

BASE = ROOT / ".comfyui" / "base"  # keeps what the person saves: workflows, inputs, outputs, models put there
DEFAULT_PORT = 8188


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py serve", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    options = parser.parse_args()
    check_port(options.port)  # before any work is done
    comfyui = current_comfyui()
    example = BASE / "input" / "example.png"
    if not example.exists() and (comfyui / "input" / "example.png").exists():
        example.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(comfyui / "input" / "example.png", example)
    with Server(comfyui, BASE, port=options.port) as server:
        say(f"* ready at {server.url} (files in {BASE}; Ctrl-C ends it)")
        code = server.process.wait() if server.process else 0
    if code:
        raise DevError(f"ComfyUI ended with exit code {code}; its messages above say why.")


if __name__ == "__main__":
    main()
