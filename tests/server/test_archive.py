"""The pack as the registry packs it: unpacked into a fresh ComfyUI under another name it works, and removed it leaves nothing behind."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pathspec
import pytest
from cinemo_pack.tests import drawn
from cinemo_pack.tests.hub import Hub
from cinemo_pack.tests.workflows import NANO_BUNDLE, PUBLISHED_BUNDLE, TITLES, frames_node, pack_inputs
from cinemo_pack.tools import server as server_module
from cinemo_pack.tools.client import Client, WorkflowError
from cinemo_pack.tools.server import Server
from PIL import Image

FOLDER = "comfyui-cinemo-0.1"  # no Python name, and not the repository's
LEFT_OUT = {"tests", "tools", ".ci", "requirements", "dev.py", ".gitignore", ".gitattributes", ".comfyignore"}
WANTED = {"__init__.py", "nodes", "cinemo_core", "workflows", "web", "weights", "pyproject.toml", "README.md", "LICENSE"}
ABLATION = "weights/ablation/"  # weights that only `dev.py evaluate` reads
MEGABYTES = 35  # most of it nano


class Fresh(Server):
    """A ComfyUI with what is in its base directory, nothing linked in."""

    def __init__(self, comfyui: Path, base: Path, module: str):
        super().__init__(comfyui, base, {}, log=base.parent / "comfyui.log")
        self.links = {}
        self.module = module

    def wait_until_ready(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server_module, "PACK", self.module)
            super().wait_until_ready()


class Bare(Fresh):
    """One without the pack: ready when it answers."""

    def nodes(self):
        found = super().nodes()
        self.found = found
        return None if found is None else {**found, "none": {"python_module": f"custom_nodes.{self.module}"}}


@pytest.fixture(scope="module")
def archive(root: Path, tmp_path_factory) -> Path:
    """A zip of the repository's files without what .comfyignore names, as `comfy node pack` makes it; new files are in it too."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("The list of files is git's; this is no clone.")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=root, check=True, capture_output=True, text=True
    )
    lines = (root / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = pathspec.PathSpec.from_lines("gitignore", [line for line in lines if line and not line.startswith("#")])
    path = tmp_path_factory.mktemp("archive") / "cinemo.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in filter(None, listed.stdout.split("\0")):
            if (root / name).is_file() and not ignored.match_file(name):
                target.write(root / name, name)
    return path


@pytest.fixture(scope="module")
def earlier(root: Path, tmp_path_factory) -> Path:
    """The pack as it was at the newest tag; before there is one, when archives of it were first tested."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("The earlier version is git's; this is no clone.")

    def git(*command: str) -> list[str]:
        return subprocess.run(["git", *command], cwd=root, check=True, capture_output=True, text=True).stdout.split()

    first = git("log", "--diff-filter=A", "--format=%H", "--", "tests/server/test_archive.py")[-1]
    version = next(iter(git("tag", "--sort=-creatordate", "--merged", "HEAD", "--no-contains", "HEAD")), first)
    path = tmp_path_factory.mktemp("earlier") / "cinemo.zip"
    git("archive", "--format=zip", f"--output={path}", version)
    return path


@pytest.fixture(scope="module")
def base(comfyui: Path, tmp_path_factory) -> Path:
    """The base directory of a ComfyUI with an input picture, and a home and a temporary folder next to it."""
    base = tmp_path_factory.mktemp("fresh") / "ComfyUI"
    (base / "input").mkdir(parents=True)
    (base / "custom_nodes").mkdir()
    shutil.copy(comfyui / "input" / "example.png", base / "input")
    return base


@pytest.fixture(scope="module", autouse=True)
def own_home(base: Path) -> Iterator[None]:
    """What the server or the download might leave in the home or in the temporary folder shows up next to `base`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "home/.cache", "HF_HOME": "home/.cache/hf"}.items():
            (base.parent / folder).mkdir(parents=True, exist_ok=True)
            patch.setenv(name, str(base.parent / folder))
        yield


def entries(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != "comfyui.log"}


def bare_start(comfyui: Path, base: Path) -> tuple[set[str], set[str]]:
    """Start and stop without the pack: the node ids on offer, and everything in and around the base directory afterwards."""
    with Bare(comfyui, base, FOLDER) as running:
        nodes = set(running.found)
        assert FOLDER not in Client(running.url).get("/workflow_templates")
    return nodes, entries(base.parent)


def download(published: Path, pack: Path, *command: str) -> str:
    """Run the download command in the folder of the unpacked pack, with these files on the hub."""
    with Hub(published) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, *command], cwd=pack, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_archive_holds_what_runs_and_nothing_else(archive, root):
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
    top = {name.split("/")[0] for name in names}
    assert top >= WANTED and not top & LEFT_OUT
    assert (root / ABLATION).is_dir() and not any(name.startswith(ABLATION) for name in names)
    assert archive.stat().st_size < MEGABYTES * 1e6
    for folder in ("nodes", "cinemo_core", "workflows", "web", "weights", "locales", "subgraphs"):
        here = {
            path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }
        assert {name for name in here if not name.startswith(ABLATION)} <= set(names)


def test_it_works_in_a_fresh_comfyui_and_leaves_nothing_behind(archive, base, comfyui, root, workflow, tmp_path):
    published = drawn.write(tmp_path / "published")
    nodes_before, before = bare_start(comfyui, base)
    pack = base / "custom_nodes" / FOLDER
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(pack)

    with Fresh(comfyui, base, FOLDER) as running:
        client = Client(running.url)
        ours = {name for name, node in client.get("/object_info").items() if node["python_module"] == f"custom_nodes.{FOLDER}"}
        assert ours == set(pack_inputs())
        assert sorted(client.get("/workflow_templates")[FOLDER]) == sorted(TITLES.values())
        for title in TITLES.values():
            with urlopen(f"{running.url}/api/workflow_templates/{FOLDER}/{quote(title)}.jpg") as response:
                assert response.read() == (root / "workflows" / f"{title}.jpg").read_bytes()
        for node in ours:
            with urlopen(f"{running.url}/extensions/{quote(FOLDER)}/docs/{node}.md") as response:
                assert response.read() == (root / "web" / "docs" / f"{node}.md").read_bytes()

        graph = small_graph(workflow("image_to_video"), NANO_BUNDLE)
        assert len(client.run(graph)[frames_node(graph)]["images"]) == 4, "nano comes with it"
        graph = small_graph(graph, PUBLISHED_BUNDLE)
        with pytest.raises(WorkflowError) as refused:
            client.run(graph)
        assert "There is no checkpoint folder Cinemo in models/diffusers; choose one that is listed, or put unet/ (3.64 GB), " in str(
            refused.value
        )
        assert "or run `python -m cinemo_core.download` in the folder of this pack, and press R." in str(refused.value)
        (error,) = refused.value.node_errors.values()
        assert error["class_type"] == "CinemoBundleLoader"

        for loader, name, nano in (
            ("CinemoBundleLoader", "bundle", NANO_BUNDLE),
            ("CinemoModelLoader", "model_name", f"{NANO_BUNDLE}/unet"),
        ):
            options = client.get(f"/object_info/{loader}")[loader]["input"]["required"][name][1]
            assert options["options"] == [nano] and options["default"] == nano

        alone = {"1": {"class_type": "CinemoModelLoader", "inputs": {"model_name": "mine.pt", "weight_dtype": "default"}}}
        alone["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
        with pytest.raises(
            WorkflowError,
            match=r"no UNet mine.pt in .*; choose one .*, or put unet/ \(3.64 GB\) of https://.* into models/diffusers/Cinemo/, or",
        ):
            client.run(alone)

        assert f"into {base / 'models' / 'diffusers' / 'Cinemo'}\n" in download(published, pack, "-m", "cinemo_core.download")
        (isolated,) = re.findall(r'python\.exe -c "(.*)"', (pack / "README.md").read_text(encoding="utf-8"))
        assert "Nothing to do" in download(published, pack, "-I", "-c", isolated)
        assert len(client.run(graph)[frames_node(graph)]["images"]) == 4

    log = running.log.read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in log and "Cannot import" not in log and "IMPORT FAILED" not in log

    shutil.rmtree(pack)
    nodes_after, after = bare_start(comfyui, base)
    assert nodes_after == nodes_before
    made = {name for name in after - before if not name.startswith(("ComfyUI/output/", "ComfyUI/models/diffusers"))}
    assert made <= {"ComfyUI/output", "ComfyUI/models"}, "files besides the results and the weights"


def test_after_an_upgrade_an_old_graph_runs_as_before(archive, earlier, base, comfyui):
    """A manager empties the pack's folder and unpacks the new version; what was made with the old one gives the same pictures."""
    pack = base / "custom_nodes" / FOLDER
    checkpoint = drawn.write(base / "models" / "diffusers" / "mine")
    made = []
    graph = None
    for version in (earlier, archive):
        with zipfile.ZipFile(version) as packed:
            graph = graph or small_graph(json.loads(packed.read("tests/workflows/image_to_video.json")), checkpoint.name)
            packed.extractall(pack)
        with Fresh(comfyui, base, FOLDER) as running:
            client = Client(running.url)
            images = client.run(graph)[frames_node(graph)]["images"]
            made.append([np.asarray(Image.open(io.BytesIO(client.fetch(image)))).astype(int) for image in images])
        shutil.rmtree(pack)
    shutil.rmtree(checkpoint)
    assert len(made[0]) == len(made[1]) == 4
    assert abs(np.stack(made[0]) - np.stack(made[1])).max() <= 2


def small_graph(graph: dict, bundle: str) -> dict:
    """The workflow at the size of tests, with this checkpoint."""
    wanted = {
        "CinemoBundleLoader": {"bundle": bundle},
        "CinemoMotionConditioning": {"width": 96, "height": 64, "frames": 4},
        "CinemoResidualKSampler": {"steps": 2},
    }
    for entry in graph.values():
        entry["inputs"] |= wanted.get(entry["class_type"], {})
    return graph
