"""Puts ComfyUI on the path and keeps it on the CPU as the tools do, before anything imports it; the drawn checkpoint and model folders."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, os.environ.get("COMFYUI_PATH", str(ROOT / ".comfyui" / "ComfyUI")))

from cinemo_pack.tools.on_cpu import choose_cpu

choose_cpu()

import folder_paths
from cinemo_pack.tests import drawn as drawn_checkpoint


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """The folder of the drawn checkpoint; tests that change something change a copy."""
    return drawn_checkpoint.write(tmp_path_factory.mktemp("checkpoint") / "drawn")


@pytest.fixture
def model_folders(tmp_path, monkeypatch) -> SimpleNamespace:
    """Empty `diffusion_models` and `diffusers` folders that ComfyUI looks into instead of its own."""
    folders = {}
    for name in ("diffusion_models", "diffusers"):
        folders[name] = tmp_path / "models" / name
        folders[name].mkdir(parents=True)
        suffixes = folder_paths.folder_names_and_paths[name][1]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(folders[name])], suffixes))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return SimpleNamespace(**folders)
