"""Makes the repository importable as one package, whatever its folder is called.

The pack is a package by its root `__init__.py`, and ComfyUI imports it under a name made from its path. Tests reach it
as `cinemo_pack`; registering that name here keeps relative imports intact and every module loaded once.
"""

import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

if "cinemo_pack" not in sys.modules:
    pack = types.ModuleType("cinemo_pack")
    pack.__path__ = [str(ROOT)]
    sys.modules["cinemo_pack"] = pack


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
