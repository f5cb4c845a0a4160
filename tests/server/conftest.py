"""One real ComfyUI server for all tests of this folder, with the pack linked in."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from cinemo_pack.tests.workflows.animate_anyone_files import write_animate_anyone_files
from cinemo_pack.tests.workflows.pose_files import write_pose_files
from cinemo_pack.tests.workflows.small import FRAMES, HEIGHT, SECOND, WIDTH
from cinemo_pack.tools.client import Client, Workflow
from cinemo_pack.tools.environment import current_comfyui
from cinemo_pack.tools.server import Server
from PIL import Image

RUNS = 30
WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runs", type=int, default=RUNS, help=f"how many workflows test_soak.py runs in a row (default: {RUNS})")


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
    with Server(comfyui, base, log=base / "comfyui.log") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url)


@pytest.fixture(scope="session")
def workflow() -> Callable[[str], Workflow]:
    """Gives a fresh copy of a workflow in API format by its name."""
    return lambda name: json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def picture(server: Server) -> np.ndarray:
    """A picture with detail at the size of the clips, as uint8 [h, w, 3]; on the server it is picture.png, and last.png another."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 255 / WIDTH, y * 255 / HEIGHT, 127 + 127 * np.sin(x / 5) * np.cos(y / 7)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(server.base / "input" / "picture.png")
    Image.fromarray(255 - pixels[::-1]).save(server.base / "input" / "last.png")
    return pixels


@pytest.fixture(scope="session")
def animate_anyone_files(server: Server) -> None:
    """The files that its workflows name, of small width, and poses."""
    write_animate_anyone_files(server.base / "models")
    write_pose_files(server.base / "input")


@pytest.fixture(scope="session")
def video(server: Server, picture: np.ndarray) -> str:
    """A longer video, a pan over the picture, in the server's input folder."""
    with av.open(server.base / "input" / "video.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=SECOND, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, 2 * HEIGHT, "yuv420p"
        for i in range(FRAMES + 4):
            moved = np.roll(picture, 3 * i, axis=1).repeat(2, axis=0).repeat(2, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return "video.mp4"
