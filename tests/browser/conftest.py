"""A real ComfyUI and a real Chromium that shows its frontend, each with an empty profile."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from cinemo_pack.tests.workflows import WORKFLOWS
from cinemo_pack.tests.workflows.animate_anyone_files import write_animate_anyone_files
from cinemo_pack.tests.workflows.dynamicrafter_files import write_dynamicrafter_files
from cinemo_pack.tests.workflows.pose_files import write_pose_files
from cinemo_pack.tests.workflows.sd15_files import WIDE_BUNDLE, write_controlnet, write_lora, write_wide_bundle
from cinemo_pack.tests.workflows.stock_files import write_stock_files
from cinemo_pack.tools.browser import CHROMIUM, installed
from cinemo_pack.tools.environment import current_comfyui
from cinemo_pack.tools.server import Server
from PIL import Image, ImageDraw

VIEW = {"width": 1600, "height": 1000}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# No template dialog at the start and a clear canvas; the frontend keeps its settings on the server, where one page finds another's.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.VueNodes.Enabled": False,
}
PATIENCE = 120_000  # milliseconds for anything to appear; a busy machine takes long, and waiting ends when it is there
# The frontend is ready when it has drawn the workflow that it shows to a new person.
READY = "() => window.app?.canvas && window.app.extensionManager && window.app.graph?.nodes.length > 0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thumbnails", action="store_true", help="write the thumbnails next to the workflows again")


@pytest.fixture(scope="session")
def thumbnails(pytestconfig: pytest.Config) -> Path | None:
    """Where thumbnails go, if they are asked for."""
    return WORKFLOWS if pytestconfig.getoption("--thumbnails", default=False) else None


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium: the one that `dev.py test` names in CHROMIUM, or else one that is installed."""
    found = os.environ.get(CHROMIUM) or next(installed(), None)
    if found is None:
        pytest.fail("There is no browser: `python dev.py test` gets one; `--no-browser` leaves these tests out.")
    return found


@pytest.fixture(scope="session")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with a picture and a video in place."""
    comfyui, base = current_comfyui(), tmp_path_factory.mktemp("browser")
    (base / "input").mkdir()
    shutil.copy(comfyui / "input" / "example.png", base / "input")
    write_video(base / "input" / "video.mp4")
    with Server(comfyui, base, log=base / "comfyui.log") as running:
        yield running


@pytest.fixture(scope="session")
def animate_anyone_files(server: Server) -> None:
    """The files that its workflows name, of small width, and poses."""
    write_animate_anyone_files(server.base / "models")
    write_pose_files(server.base / "input")


@pytest.fixture(scope="session")
def dynamicrafter_files(server: Server) -> None:
    """The checkpoints that DynamiCrafter's workflows name, of small width."""
    write_dynamicrafter_files(server.base / "models")


@pytest.fixture
def stock_files(server: Server, stock_folder: Path) -> Iterator[None]:
    """Puts the single files that the stock workflow names into the server's model folders."""
    files = {server.base / "models" / path.relative_to(stock_folder): path for path in stock_folder.rglob("*") if path.is_file()}
    for place, file in files.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, place)
    yield
    for place in files:
        place.unlink()


@pytest.fixture(scope="session")
def stock_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    write_stock_files(folder)
    return folder


@pytest.fixture(scope="session")
def sd15_files(server: Server) -> None:
    """Puts a LoRA, a ControlNet and a Cinemo that the ControlNet fits into the server's model folders; no checkpoint of another model."""
    models = server.base / "models"
    write_lora(models)
    write_controlnet(models)
    write_wide_bundle(models / "diffusers" / WIDE_BUNDLE)


def write_video(path: Path) -> None:
    """Twenty frames of a sun that passes over hills."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 256, 192, "yuv420p"
        for i in range(20):
            frame = Image.new("RGB", (256, 192), (98, 150, 214))
            pen = ImageDraw.Draw(frame)
            pen.circle((40 + 9 * i, 60), 26, fill=(255, 214, 102))
            pen.ellipse((-100, 105, 170, 300), fill=(58, 120, 78))
            pen.ellipse((90, 120, 380, 320), fill=(74, 142, 92))
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


@pytest.fixture
def open_page(server: Server, chromium: str, tmp_path: Path) -> Iterator[Callable[[], SimpleNamespace]]:
    """Opens the frontend in a Chromium of its own; gives the page and the list of errors that its console shows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        contexts: list[Any] = []

        def open_one() -> SimpleNamespace:
            context = driver.chromium.launch_persistent_context(
                tmp_path / f"profile{len(contexts)}", executable_path=chromium, headless=True, args=FLAGS, viewport=VIEW
            )
            contexts.append(context)
            context.set_default_timeout(PATIENCE)
            page, errors = context.pages[0], []
            page.on("console", lambda m: errors.append(f"{m.text} ({m.location['url']})") if m.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.request.post(f"{server.url}/settings", data=SETTINGS)
            page.goto(server.url)
            page.wait_for_function(READY)
            return SimpleNamespace(page=page, errors=errors)

        yield open_one
        for context in contexts:
            context.close()
