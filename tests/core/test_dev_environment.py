"""The environment: stamps, unusable interpreters, COMFYUI_PATH, the causes of pip failures."""

import sys
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


@pytest.mark.parametrize("version", [(3, 9), (3, 15)])
def test_a_python_without_packages_is_refused(version):
    with pytest.raises(DevError, match=rf"This is Python 3.{version[1]}; the pinned packages exist for 3.10 to 3.14"):
        environment.check_python(version)


def test_too_little_disk_space_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "GIGABYTES", 10**9)
    with pytest.raises(DevError, match="GB of free disk space, the environment needs about"):
        environment.ensure_venv(tmp_path / ".venv")
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_is_told(tmp_path, monkeypatch):
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
    """What the registry is told, what dev.py takes, and what the smoke tests run on."""
    assert f'requires-comfyui = ">={environment.OLDEST_COMFYUI}"' in (environment.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pin = (environment.REQUIREMENTS / "comfyui-oldest.txt").read_text(encoding="utf-8")
    assert pin.startswith(f"# ComfyUI {environment.OLDEST_COMFYUI}, ")


def test_comfyui_path_uses_this_python_if_none_is_beside_it(tmp_path, monkeypatch, pip_calls):
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui(tmp_path / "ComfyUI", "0.31.0")))
    assert environment.prepare() == environment.Environment(Path(sys.executable), tmp_path / "ComfyUI")
    assert pip_calls == []


@pytest.mark.parametrize("place", ["ComfyUI/venv", "ComfyUI/.venv", "venv", ".venv"])
def test_comfyui_path_prefers_the_python_beside_it(tmp_path, place):
    folder = comfyui(tmp_path / "ComfyUI", "0.30.0")
    python = environment.interpreter(tmp_path / place)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert next(filter(Path.exists, environment.interpreters_beside(folder))) == python


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


def test_pins_are_exact_and_free_of_indexes_and_gpu_packages():
    for name in ("runtime.txt", "dev.txt"):
        lines = [line for line in (environment.REQUIREMENTS / name).read_text().splitlines() if not line.startswith("#")]
        assert all("==" in line.split(";")[0] for line in lines)
        assert not any(line.startswith(("nvidia", "cuda", "triton", "-")) for line in lines)
