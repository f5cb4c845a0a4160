"""One real ComfyUI server for all tests of this folder, with the pack linked in and the nano checkpoint in place."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cinemo_pack.tools.client import Client, Workflow
from cinemo_pack.tools.environment import current_comfyui
from cinemo_pack.tools.nano import NAME, nano_checkpoint
from cinemo_pack.tools.server import Server

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of the ComfyUI under test."""
    return current_comfyui()


@pytest.fixture(scope="session")
def server(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server; its base directory is its own, and holds ComfyUI's example image."""
    base = tmp_path_factory.mktemp("server")
    (base / "input").mkdir()
    shutil.copy(comfyui / "input" / "example.png", base / "input")
    with Server(comfyui, base, {NAME: nano_checkpoint()}, log=base / "comfyui.log") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url)


@pytest.fixture(scope="session")
def workflow() -> Callable[[str], Workflow]:
    """Gives a fresh copy of a workflow in API format by its name."""
    return lambda name: json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
