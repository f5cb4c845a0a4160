"""The environment: stamps, unusable interpreters, COMFYUI_PATH, the causes of pip failures."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cinemo_pack.tools import environment
from cinemo_pack.tools.console import DevError
from cinemo_pack.tools.packages import explain


@pytest.fixture
def pip_calls(monkeypatch) -> list:
    calls: list = []
    monkeypatch.setattr(environment, "run_pip", lambda *arguments, task: calls.append(arguments))
    return calls


def test_pins_are_installed_once_and_again_when_they_change(tmp_path, pip_calls):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    requirements = tmp_path / "runtime.txt"
    requirements.write_text("a==1")
    for text, calls in (("a==1", 1), ("a==1", 1), ("a==2", 2), ("a==2", 2)):
        requirements.write_text(text)
        environment.ensure_pins(python, requirements)
        assert len(pip_calls) == calls


def test_an_interrupted_installation_leaves_no_stamp(tmp_path, monkeypatch):
    def interrupted(*arguments, task):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "run_pip", interrupted)
    (tmp_path / "runtime.txt").write_text("a==1")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        environment.ensure_pins(tmp_path / "venv" / "bin" / "python", tmp_path / "runtime.txt")
    assert not list((tmp_path / "venv").glob(".pins-*"))


def wheel(folder: Path, name: str, requires: str = "") -> str:
    """Write a wheel of this package, version 1; gives the pip argument that pins its hash."""
    info, metadata = f"{name}-1.dist-info", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_only_files_of_the_pinned_hashes_are_installed(tmp_path, monkeypatch):
    """The real pip, in an environment of its own, on wheels in a local folder."""
    index = tmp_path / "index"
    index.mkdir()
    right, needs = wheel(index, "alone"), wheel(index, "needs", requires="alone")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python, requirements = environment.interpreter(tmp_path / "venv"), tmp_path / "runtime.txt"
    for text, sentence in (
        (f"alone==1 --hash=sha256:{'0' * 64}", r"the downloaded file is not the expected one \(its sha256 differs\) and was not used"),
        (f"needs==1 {needs}", "it needs alone, which is not in the list of pinned packages"),
    ):
        requirements.write_text(text)
        with pytest.raises(DevError, match=f"^Installing runtime.txt failed: .*{sentence}"):
            environment.ensure_pins(python, requirements)
        assert environment.missing_packages(python, ["alone", "needs"]) == ["alone", "needs"]
    requirements.write_text(f"alone==1 {right}\nneeds==1 {needs}\n")
    environment.ensure_pins(python, requirements)
    assert environment.missing_packages(python, ["alone", "needs"]) == []


@pytest.mark.parametrize("version", [(3, 9), (3, 15)])
def test_a_python_without_packages_is_refused(version):
    with pytest.raises(DevError, match=rf"This is Python 3.{version[1]}; the pinned packages exist for 3.10 to 3.14"):
        environment.check_python(version)


def test_too_little_disk_space_is_reported_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "GIGABYTES", 10**9)
    with pytest.raises(DevError, match="GB of free disk space, the environment needs about"):
        environment.ensure_venv(tmp_path / ".venv")
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "GIGABYTES", 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DevError, match="install its venv module"):
        environment.ensure_venv(tmp_path / ".venv")


@pytest.mark.parametrize("content", [None, "main.py"])
def test_comfyui_path_without_comfyui(tmp_path, monkeypatch, content):
    if content:
        (tmp_path / content).touch()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(DevError, match="which holds no ComfyUI"):
        environment.prepare()


def comfyui(folder: Path, version: str) -> Path:
    folder.mkdir()
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'# written by the release script\n__version__ = "{version}"\n')
    return folder


def test_an_old_comfyui_is_refused(tmp_path):
    with pytest.raises(DevError, match=r"is ComfyUI 0\.9\.2, expected 0\.27\.0 or newer"):
        environment.user_environment(comfyui(tmp_path / "ComfyUI", "0.9.2"), [], False)


def test_the_oldest_comfyui_is_the_same_everywhere():
    """What the registry reads, what dev.py takes, and what the smoke tests run on."""
    assert f'requires-comfyui = ">={environment.OLDEST_COMFYUI}"' in (environment.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pin = (environment.REQUIREMENTS / "comfyui-oldest.txt").read_text(encoding="utf-8")
    assert pin.startswith(f"# ComfyUI {environment.OLDEST_COMFYUI}, ")


def test_comfyui_path_uses_this_python_if_none_is_near_it(tmp_path, monkeypatch, pip_calls):
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui(tmp_path / "ComfyUI", "0.31.0")))
    assert environment.prepare() == environment.Environment(Path(sys.executable), tmp_path / "ComfyUI")
    assert pip_calls == []


@pytest.mark.parametrize("place", ["ComfyUI/venv", "ComfyUI/.venv", "venv", ".venv"])
def test_comfyui_path_prefers_the_python_near_it(tmp_path, place):
    folder = comfyui(tmp_path / "ComfyUI", "0.30.0")
    python = environment.interpreter(tmp_path / place)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert next(filter(Path.exists, environment.interpreters_near(folder))) == python


def test_nothing_is_installed_into_the_users_python_without_leave(tmp_path, monkeypatch, pip_calls):
    folder = comfyui(tmp_path / "ComfyUI", "0.30.0")
    monkeypatch.setattr(sys, "argv", ["dev.py", "test", "--no-browser"])
    with pytest.raises(DevError, match=r"lacks no-such-package; allow installing them with: python dev\.py --install test --no-browser"):
        environment.user_environment(folder, ["pytest", "no-such-package"], False)
    assert pip_calls == []
    environment.user_environment(folder, ["pytest", "no-such-package"], True)
    assert pip_calls == [(Path(sys.executable), "install", "--only-binary", ":all:", "no-such-package")]


def test_the_projects_own_comfyui_is_not_taken_for_the_users(monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(environment.COMFYUI))
    monkeypatch.setattr(environment, "own_environment", lambda **_: "own")
    assert environment.prepare() == "own"


NO_NETWORK = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('Temporary failure in name resolution')'
ERROR: Could not find a version that satisfies the requirement torch==2.11.0 (from versions: none)
ERROR: No matching distribution found for torch==2.11.0"""


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        (NO_NETWORK, "the package index cannot be reached"),
        ("ERROR: No matching distribution found for torch==2.11.0", "there is no ready-made torch for"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "sha256 differs"),
        ("error: command 'gcc' failed: No such file or directory", "would have to be compiled"),
        ("ERROR: Something new.", "Something new"),
        ("", "pip gave no reason"),
    ],
)
def test_pip_failures_have_a_cause_in_words(messages, cause):
    assert cause in explain(messages)


def test_pins_are_exact_hashed_and_free_of_indexes():
    for name in ("runtime.txt", "dev.txt"):
        pins = pinned(environment.REQUIREMENTS / name)
        assert len(pins) > 30
        for pin, hashes in pins.items():
            assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", pin)
            assert hashes
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", value) for value in hashes)
            if pin.startswith(("nvidia", "cuda", "triton")):
                assert "sys_platform == 'linux'" in pin, "torch for Linux alone brings CUDA"


def test_the_same_package_has_the_same_pin_in_both_files():
    runtime, dev = (pinned(environment.REQUIREMENTS / f"{name}.txt") for name in ("runtime", "dev"))
    versions = [{pin.split(" ; ")[0] for pin in pins} for pins in (runtime, dev)]
    names = [{version.split("==")[0] for version in found} for found in versions]
    for name in names[0] & names[1]:
        of_name = [{version for version in found if version.startswith(f"{name}==")} for found in versions]
        assert of_name[0] == of_name[1]


def pinned(requirements: Path) -> dict[str, list[str]]:
    """The hashes of each pin of a requirements file."""
    lines = [line for line in requirements.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    entries = "\n".join(lines).replace("\\\n", "").splitlines()
    return {
        pin.strip(): hashes.split() for pin, hashes in (entry.split("--hash", 1) for entry in entries) for hashes in [f"--hash{hashes}"]
    }
