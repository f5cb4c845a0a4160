"""Makes the repository importable as one package, whatever its folder is called.

The pack is a package by its root `__init__.py`, and ComfyUI imports it under a name made from its path. Tests reach it
as `cinemo_pack`; registering that name here keeps relative imports intact and every module loaded once.
"""

import contextlib
import os
import signal
import sys
import tempfile
import types
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

if "cinemo_pack" not in sys.modules:
    pack = types.ModuleType("cinemo_pack")
    pack.__path__ = [str(ROOT)]
    sys.modules["cinemo_pack"] = pack


from cinemo_pack.tests.tiers import TIERS, Tiers


class RootIsNoPackage:
    """Keeps pytest from importing the root `__init__.py`, which needs ComfyUI and a package name that the folder may not have."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", action="append", choices=TIERS, help="run the tests of this tier only; may be given again for more")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A job that a shell put in the background ignores Ctrl-C, and so would the programs that tests start and interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Plugins of their own: as hooks of this file they would be asked about folders below tests/ only.
    config.pluginmanager.register(RootIsNoPackage())
    config.pluginmanager.register(Tiers(config.getoption("--tier")))


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """A test draws the same numbers alone, after others, and every time."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


class Nobody:
    """A folder that everybody may read, and a context in which its permissions count: those of root never do.

    Whatever is imported inside must be imported before, as the environment may not be everybody's.
    """

    ID = 65534  # "nobody" on Linux and, as -2, on macOS

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def __call__(self):
        before = os.geteuid()
        if before == 0:
            os.seteuid(self.ID)
        try:
            yield
        finally:
            os.seteuid(before)


@pytest.fixture
def as_nobody():
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has other permissions")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Nobody(Path(folder))
        for path in Path(folder).rglob("*"):  # so that it can be removed
            path.chmod(0o755)
