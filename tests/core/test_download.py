"""The published checkpoint, fetched by the real huggingface_hub from a hub on this machine: whole, verified, resumed, in its place."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cinemo_pack.cinemo_core.download import destination, install
from cinemo_pack.cinemo_core.download.__main__ import main
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.files.checkpoint import read_metadata
from cinemo_pack.cinemo_core.files.folder import read_bundle
from cinemo_pack.cinemo_core.models.cinemo import keys
from cinemo_pack.cinemo_core.models.cinemo.published import PUBLISHED
from cinemo_pack.cinemo_core.models.published import COMMAND
from cinemo_pack.tests import drawn
from cinemo_pack.tests.hub import Hub
from safetensors.torch import load_file

UNET = "unet/diffusion_pytorch_model.bin"
CONVERTED = "unet/diffusion_pytorch_model.safetensors"
PLAIN = {
    "unet/config.json",
    "vae_temporal_decoder/config.json",
    "vae_temporal_decoder/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/pytorch_model.bin",
}
CHUNK = 10 * 1024 * 1024  # what huggingface_hub writes at once


@pytest.fixture(scope="module")
def published_files(tmp_path_factory) -> Path:
    """The drawn checkpoint among files that the published repository has and the pack does not need."""
    folder = tmp_path_factory.mktemp("repository") / "Cinemo"
    drawn.write(folder)
    for name in ("README.md", "cinemo.pt", "tokenizer/vocab.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not needed")
    return folder


@pytest.fixture
def hub(published_files, monkeypatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Hub(published_files) as hub:
        yield hub


@pytest.fixture
def download(hub, tmp_path, capsys, monkeypatch) -> Callable[..., SimpleNamespace]:
    """Runs the command against the hub, into a models/diffusers folder."""

    def run(*options, endpoint=hub.url, dest=tmp_path / "diffusers"):
        hub.requests.clear()
        for handler in logging.getLogger("huggingface_hub").handlers:  # made in an earlier test, with its stream
            monkeypatch.setattr(handler, "stream", sys.stderr)
        code = main(["--dest", str(dest), "--endpoint", endpoint, *options])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err, folder=dest / "Cinemo")

    return run


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def sentence(result: SimpleNamespace) -> str:
    """The one line that a failed run ends with."""
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last.startswith("download: ") and last.endswith(".") and "Traceback" not in result.err
    return last


def command(root, *arguments, **environment) -> subprocess.Popen:
    """The command as a person runs it, in the folder of the pack."""
    return subprocess.Popen(
        [sys.executable, "-m", "cinemo_core.download", *map(str, arguments)],
        cwd=root,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_checkpoint_is_put_where_the_loader_finds_it(download, hub):
    result = download()
    assert result.code == 0
    assert files(result.folder) == PLAIN | {CONVERTED}
    for name in PLAIN:
        assert (result.folder / name).read_bytes() == hub.files[name]
        assert f"verified {name}, " in result.out
    bundle = read_bundle(result.folder)
    assert bundle.unet == result.folder / CONVERTED and bundle.vae_temporal and bundle.text_encoder
    found, expected = load_file(bundle.unet), keys.normalise(drawn.unet_weights())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor.half()) for name, tensor in expected.items())
    assert result.out.splitlines()[-1] == "Next: press R in ComfyUI, open a Cinemo template, and choose Cinemo in Cinemo Bundle Loader."
    asked = {re.sub(r"^/(cdn|maxin-cn/Cinemo/resolve/\w+)/", "", seen.path) for seen in hub.requests}
    assert asked == PLAIN | {UNET, "/api/models/maxin-cn/Cinemo"}, "only what the pack needs"


def test_a_second_run_does_nothing(download, hub):
    folder = download().folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = download()
    assert result.code == 0
    assert "Nothing to do" in result.out
    assert [seen.path for seen in hub.requests] == ["/api/models/maxin-cn/Cinemo"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_options(download, hub):
    result = download("--dtype", "bf16", "--keep-original", "--image-vae", "--name", "Mine")
    folder = result.folder.with_name("Mine")
    assert result.code == 0
    assert files(folder) == PLAIN | {UNET, CONVERTED, "vae/config.json", "vae/diffusion_pytorch_model.bin"}
    assert read_metadata(folder / CONVERTED)["cinemo.dtype"] == "bf16"
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    assert hub.starts(UNET) == [0]
    assert "Nothing to do" in download("--dtype", "bf16", "--keep-original", "--image-vae", "--name", "Mine").out


def test_what_lies_in_place_is_compared_used_and_kept(download, hub):
    place = download("--keep-original").folder
    (place / CONVERTED).unlink()
    (place / "text_encoder/config.json").unlink()
    result = download()
    assert result.code == 0
    assert files(place) == PLAIN | {UNET, CONVERTED}
    assert hub.starts(UNET) == [] and hub.starts("text_encoder/config.json") == [0]
    (place / "text_encoder/config.json").write_text("{}")
    found = sentence(download())
    assert "text_encoder/config.json differs from the published file (git blob id" in found and "another --name" in found
    assert (place / "text_encoder/config.json").read_text() == "{}"


def test_another_type_is_not_replaced(download):
    place = download().folder
    before = (place / CONVERTED).read_bytes()
    assert "holds fp16, expected bf16; delete it to convert it again" in sentence(download("--dtype", "bf16"))
    assert (place / CONVERTED).read_bytes() == before


class TestConnection:
    def test_a_cut_is_mended_within_the_run(self, download, hub):
        hub.cut[UNET] = [CHUNK + 1000]
        result = download()
        assert result.code == 0
        assert hub.starts(UNET) == [0, CHUNK]
        assert files(result.folder) == PLAIN | {CONVERTED}

    def test_a_run_that_gave_up_is_continued_by_the_next(self, download, hub):
        hub.cut[UNET] = [CHUNK + 1000, *[0] * 50]
        found = sentence(download())
        assert "the connection broke" in found and "run the same command again to continue" in found
        assert set(hub.starts(UNET)) == {0, CHUNK}
        hub.cut.clear()
        result = download()
        assert result.code == 0
        assert hub.starts(UNET) == [CHUNK] and hub.starts("text_encoder/pytorch_model.bin") == []
        assert files(result.folder) == PLAIN | {CONVERTED}

    @pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
    @pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
    def test_a_killed_run_is_continued_by_the_next(self, download, hub, root, tmp_path, kill):
        hub.stall = UNET
        process = command(root, "--dest", tmp_path / "diffusers", "--endpoint", hub.url)
        assert hub.stalled.wait(60)
        partial = tmp_path / "diffusers/Cinemo/.download"
        while not any(path.stat().st_size >= CHUNK for path in partial.iterdir()):
            assert process.poll() is None
        assert "is running; wait for it" in sentence(download())
        process.send_signal(kill)
        _, errors = process.communicate()
        if kill == signal.SIGINT:
            assert process.returncode == 130 and errors.endswith("download: stopped; run the same command again to continue.\n")
        result = download()
        assert result.code == 0
        assert hub.starts(UNET) == [CHUNK]
        assert files(result.folder) == PLAIN | {CONVERTED}

    def test_nobody_answers(self, download, tmp_path):
        with Hub(tmp_path) as gone:
            pass
        found = sentence(download(endpoint=gone.url))
        assert f"{gone.url} cannot be reached" in found and "--endpoint" in found
        assert not (tmp_path / "diffusers").exists()

    def test_no_address(self, download):
        assert "nowhere cannot be reached" in sentence(download(endpoint="nowhere"))


@pytest.mark.parametrize("name", ["text_encoder/pytorch_model.bin", "text_encoder/config.json"])
def test_a_wrong_checksum_is_refused(download, hub, name):
    hub.corrupt.add(name)
    result = download()
    kind = "sha256" if name.endswith(".bin") else "git blob id"
    assert re.search(rf"{name} from {hub.url} has {kind} \w+, expected \w+: deleted; run again", sentence(result))
    assert not (result.folder / name).exists()
    hub.corrupt.clear()
    assert download().code == 0
    assert (result.folder / name).read_bytes() == hub.files[name]


class TestAnswers:
    def test_no_repository(self, download, hub):
        hub.refuse = 404
        assert f"{hub.url} has no maxin-cn/Cinemo (404); check the address" in sentence(download())

    def test_a_private_repository(self, download, hub):
        hub.refuse = 401
        assert "has no public repository maxin-cn/Cinemo" in sentence(download())

    def test_a_server_in_trouble(self, download, hub):
        hub.refuse = 501
        assert "answered 501 for maxin-cn/Cinemo; try again later" in sentence(download())

    def test_a_file_that_is_gone(self, download, hub):
        del hub.files[UNET]
        found = sentence(download())
        assert f"has no {UNET}, which this pack needs" in found and PUBLISHED.page in found

    def test_a_file_that_is_listed_and_gone(self, download, hub):
        listing = hub.listing()
        hub.listing = lambda: listing
        del hub.files["text_encoder/config.json"]
        assert f"{hub.url} has no text_encoder/config.json (404)" in sentence(download())

    def test_a_file_shorter_than_listed(self, download, hub):
        listing = hub.listing()
        hub.listing = lambda: listing
        hub.files[UNET] = hub.files[UNET][:-10]
        assert f"{UNET} came incomplete from {hub.url}" in sentence(download())

    def test_no_checksums(self, download, hub):
        hub.checksums = False
        assert "names no checksums" in sentence(download())


class TestPlace:
    def test_too_little_space(self, download, hub, tmp_path, monkeypatch):
        free = 20_000_000
        monkeypatch.setattr(install.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        found = sentence(download())
        assert re.search(r"has 0.02 GB free, 0\.\d\d GB are needed \(0\.\d\d to download, 0.01 for the converted file\)", found)
        assert [seen.path for seen in hub.requests] == ["/api/models/maxin-cn/Cinemo"]

    def test_not_writable(self, download, tmp_path):
        (tmp_path / "file").write_text("mine")
        found = sentence(download(dest=tmp_path / "file" / "diffusers"))
        assert "cannot be written (Not a directory); choose another place with --dest" in found

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden"])
    def test_bad_names(self, download, name):
        assert "is not a name for a folder" in sentence(download("--name", name))

    def test_the_comfyui_around_the_pack(self, tmp_path):
        assert destination.default_destination(tmp_path / "custom_nodes" / "cinemo") == tmp_path / "models" / "diffusers"

    def test_the_comfyui_on_the_path(self, tmp_path, monkeypatch):
        (tmp_path / "folder_paths.py").write_text("raise RuntimeError('imported')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "folder_paths", raising=False)
        assert destination.default_destination(tmp_path / "elsewhere" / "cinemo") == tmp_path / "models" / "diffusers"

    def test_no_comfyui(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.delitem(sys.modules, "folder_paths", raising=False)
        with pytest.raises(InputError, match="give ComfyUI's folder of checkpoints: --dest"):
            destination.default_destination(tmp_path / "cinemo")


class TestCommand:
    def test_the_mirror_of_the_environment(self, hub, root, tmp_path):
        output, errors = (process := command(root, "--dest", tmp_path, HF_ENDPOINT=hub.url)).communicate()
        assert process.returncode == 0, errors
        assert f"maxin-cn/Cinemo at {hub.url}, commit 0123456789ab, into {tmp_path / 'Cinemo'}\n" in output
        assert files(tmp_path / "Cinemo") == PLAIN | {CONVERTED}

    def test_offline(self, hub, root, tmp_path):
        _, errors = (process := command(root, "--dest", tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")).communicate()
        assert process.returncode == 1
        assert errors == "download: HF_HUB_OFFLINE is set, which forbids every download; unset it and run again.\n"
        assert not hub.requests

    def test_a_python_that_is_not_comfyuis(self, root):
        process = subprocess.run(
            [sys.executable, "-S", "-m", "cinemo_core.download"], cwd=root, capture_output=True, text=True, check=False
        )
        assert process.returncode == 1
        assert re.fullmatch(
            r"download: This Python \(.*\) has no torch and no huggingface_hub; run the command with the Python of ComfyUI\.\n",
            process.stderr,
        )

    def test_no_token_is_sent(self, hub, root, tmp_path):
        process = command(root, "--dest", tmp_path, "--endpoint", hub.url, HF_TOKEN="hf_secret")
        process.communicate()
        assert process.returncode == 0
        assert hub.requests and not hub.tokens


class TestTexts:
    def test_the_table_says_what_is_fetched(self):
        assert {name for part in PUBLISHED.parts for name in part.files} == PLAIN | {UNET}
        assert PUBLISHED.how_to_get() == (
            "put unet/ (3.64 GB), vae_temporal_decoder/ (0.39 GB) and text_encoder/ of https://huggingface.co/maxin-cn/Cinemo into "
            "models/diffusers/Cinemo/, or run `python -m cinemo_core.download` in the folder of this pack, and press R"
        )

    @pytest.mark.parametrize("document", ["README.md", "web/docs/CinemoBundleLoader.md", "web/docs/CinemoModelLoader.md"])
    def test_the_documents_have_the_table_and_the_command(self, root, document):
        text = (root / document).read_text(encoding="utf-8")
        section = re.search(r"^## Weights\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)[1]
        rows = PUBLISHED.table().splitlines()
        assert "\n".join(rows[:3] if "ModelLoader" in document else rows) in section
        assert COMMAND in section and PUBLISHED.page in section
        sizes = {size for line in section.splitlines() if ".json" in line for size in re.findall(r"[\d.]+ GB", line)}
        assert sizes and sizes <= {part.size for part in PUBLISHED.parts}

    def test_both_loaders_name_the_command(self, root):
        assert (root / "nodes" / "cinemo" / "load.py").read_text(encoding="utf-8").count(COMMAND) == 2
