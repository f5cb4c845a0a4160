"""Where `dev.py test` gets a browser from, in which order, and what it says when there is none. No network, no browser."""

import importlib
import os
import sys
import time
from types import SimpleNamespace

import pytest
from cinemo_pack.tests.tiers import TIERS
from cinemo_pack.tools import browser
from cinemo_pack.tools.console import DevError

dev = importlib.import_module("cinemo_pack.dev")
OWN = "/cache/chromium"  # where Playwright keeps its own


@pytest.fixture
def machine(monkeypatch) -> SimpleNamespace:
    """A machine without a browser and without a way to get one; `done` lists what was tried."""
    machine = SimpleNamespace(installed=[], work=set(), download_brings=None, package_brings=None, debian_as_root=False, done=[])

    def download(python) -> bool:
        machine.done.append("download")
        machine.work |= {OWN} if machine.download_brings == "working" else set()
        return machine.download_brings is not None

    def install_package() -> None:
        machine.done.append("package")
        machine.installed += [machine.package_brings] if machine.package_brings else []
        machine.work |= {machine.package_brings}

    monkeypatch.delenv(browser.CHROMIUM, raising=False)
    monkeypatch.setattr(browser, "installed", lambda: iter(machine.installed))
    monkeypatch.setattr(browser, "starts", lambda python, path: path in machine.work)
    monkeypatch.setattr(browser, "playwrights_own", lambda python: OWN)
    monkeypatch.setattr(browser, "download", download)
    monkeypatch.setattr(browser, "is_debian_as_root", lambda: machine.debian_as_root)
    monkeypatch.setattr(browser, "install_package", install_package)
    return machine


def obtain() -> str:
    return browser.obtain_browser(sys.executable)


def test_one_that_is_installed_is_taken_and_named(machine, capsys):
    machine.installed, machine.work = ["/snap/chromium", "/usr/bin/google-chrome"], {"/usr/bin/google-chrome", OWN}
    assert obtain() == "/usr/bin/google-chrome"  # the snap does not start
    assert capsys.readouterr().out == "* browser: /usr/bin/google-chrome, which is installed\n"
    assert machine.done == []


def test_one_that_was_downloaded_earlier_is_taken(machine, capsys):
    machine.work = {OWN}
    assert obtain() == OWN and machine.done == []
    assert "which Playwright downloaded earlier" in capsys.readouterr().out


def test_without_one_playwright_downloads_its_own(machine, capsys):
    machine.download_brings, machine.debian_as_root = "working", True
    assert obtain() == OWN and machine.done == ["download"]
    assert "Playwright downloads its Chromium, about" in capsys.readouterr().out


@pytest.mark.parametrize("brings", [None, "lacking libraries"])
def test_on_debian_the_package_is_next(machine, capsys, brings):
    machine.download_brings, machine.debian_as_root, machine.package_brings = brings, True, "/usr/bin/chromium"
    assert obtain() == "/usr/bin/chromium" and machine.done == ["download", "package"]
    assert "installing the package chromium with apt-get" in capsys.readouterr().out


@pytest.mark.parametrize("debian_as_root", [False, True])
def test_none_to_be_had_is_one_sentence(machine, debian_as_root):
    machine.debian_as_root = debian_as_root
    with pytest.raises(DevError, match=r"^There is no browser for .*, name one in CHROMIUM, or leave these tests out with --no-browser\.$"):
        obtain()
    assert machine.done == ["download", *(["package"] if debian_as_root else [])]


def test_the_one_that_is_named_is_taken_or_refused(machine, monkeypatch):
    machine.installed, machine.work = ["/usr/bin/chromium"], {"/usr/bin/chromium", "/opt/mine"}
    monkeypatch.setenv(browser.CHROMIUM, "/opt/mine")
    assert obtain() == "/opt/mine"
    monkeypatch.setenv(browser.CHROMIUM, "/opt/none")
    with pytest.raises(DevError, match="CHROMIUM is /opt/none, which does not start as a Chromium; give the path of one, or unset it"):
        obtain()


def test_what_is_no_browser_does_not_start(tmp_path):
    assert not browser.starts(sys.executable, str(tmp_path / "none"))
    (tmp_path / "text").write_text("no program")
    assert not browser.starts(sys.executable, str(tmp_path / "text"))


def test_a_download_fails_over_soon_and_keeps_what_a_person_has_set(monkeypatch):
    """Playwright's own patience is 30 s a connection and five of them."""
    seen = []
    monkeypatch.setattr(browser, "finishes", lambda command, seconds, variables, **_: seen.append((command, seconds, variables)))
    monkeypatch.delenv("PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT", raising=False)
    browser.download("python")
    command, seconds, variables = seen[-1]
    assert command == ["python", "-m", "playwright", "install", "--no-shell", "chromium"] and seconds <= 900
    assert int(variables["PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT"]) <= 10_000 and variables["PATH"] == os.environ["PATH"]
    monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT", "60000")
    browser.download("python")
    assert seen[-1][2]["PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT"] == "60000"


@pytest.mark.skipif(sys.platform == "win32", reason="The program under test is a shell script.")
def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    beats = tmp_path / "beats"
    start = time.monotonic()
    assert not browser.finishes(["sh", "-c", f"while true; do echo >> '{beats}'; sleep 0.05; done & wait"], 0.5)
    assert time.monotonic() - start < 20
    counted = beats.stat().st_size
    time.sleep(0.3)
    assert beats.stat().st_size == counted > 0


def test_how_a_command_ended(tmp_path):
    assert browser.finishes([sys.executable, "-c", "pass"], 60)
    assert not browser.finishes([sys.executable, "-c", "raise SystemExit(1)"], 60)
    assert not browser.finishes([str(tmp_path / "no-such-program")], 60)


@pytest.fixture
def run(monkeypatch) -> SimpleNamespace:
    """What `dev.py test` starts, and with what."""
    run = SimpleNamespace(arguments=None, variables=None, comfyui=None)

    def record(*arguments, folder, variables) -> int:
        run.arguments, run.variables = list(arguments), variables
        return 0

    def prepare(options, packages, comfyui):
        run.comfyui = comfyui
        return SimpleNamespace(python="python", run=record)

    monkeypatch.setattr(dev, "prepare", prepare)
    monkeypatch.setattr(dev, "obtain_browser", lambda python: "/usr/bin/chromium")
    return run


def run_dev(*arguments: str) -> int:
    options, rest = dev.parse(["test", *arguments])
    return options.function(options, rest)


WITH_BROWSER = {"CHROMIUM": "/usr/bin/chromium"}


def test_all_tiers_run_with_a_browser(run):
    assert run_dev("-x") == 0
    assert run.arguments == ["-m", "pytest", "-x"] and run.variables == WITH_BROWSER and run.comfyui


def test_a_browser_can_be_left_out(run):
    assert run_dev("--no-browser") == 0
    assert run.arguments == ["-m", "pytest", *(f"--tier={tier}" for tier in TIERS if tier != "browser")] and run.variables == {}


def test_the_unit_tests_need_neither_comfyui_nor_a_browser(run):
    assert run_dev("--tier", "unit") == 0
    assert run.arguments == ["-m", "pytest", "--tier=unit"] and run.variables == {} and not run.comfyui
    assert run_dev("--tier", "unit", "--tier", "browser") == 0
    assert run.variables == WITH_BROWSER and run.comfyui


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        (["tests/core", "-k", "browser"], False),
        (["tests/server/test_client.py::test_outputs_come_back"], False),
        (["tests/browser/test_locales.py"], True),
        (["tests/core", "tests"], True),
        (["-k", "locales"], True),
    ],
)
def test_a_browser_is_got_only_for_tests_that_need_it(run, given, needed):
    assert run_dev(*given) == 0
    assert run.variables == (WITH_BROWSER if needed else {})


def test_another_processors_rounding(run):
    assert run_dev("--other-rounding", "tests/core") == 0
    assert run.variables == {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"} | run.variables


def test_dev_knows_the_tiers():
    assert dev.TIERS == TIERS
