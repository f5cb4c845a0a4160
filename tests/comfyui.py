"""ComfyUI in the process of the tests, and the pack's nodes as they declare themselves to it."""

import asyncio
import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def use_comfyui() -> None:
    """Put ComfyUI on the path and keep it on the CPU as the tools do, before anything imports it."""
    folder = os.environ.get("COMFYUI_PATH", str(ROOT / ".comfyui" / "ComfyUI"))
    if folder not in sys.path:
        sys.path.insert(0, folder)
        from cinemo_pack.tools.on_cpu import choose_cpu

        choose_cpu()


@functools.cache
def schemas() -> dict[str, Any]:
    """The schema of every node of the pack, by node id."""
    use_comfyui()
    from cinemo_pack.nodes import CinemoExtension

    with ThreadPoolExecutor(1) as thread:  # in a browser's test this thread has an event loop running already
        nodes = thread.submit(asyncio.run, CinemoExtension().get_node_list()).result()
    return {schema.node_id: schema for schema in (node.define_schema() for node in nodes)}
