"""ComfyUI in the process; the drawn checkpoint and model folders."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from cinemo_pack.tests.comfyui import use_comfyui

use_comfyui()

import folder_paths
from cinemo_pack.tests import drawn as drawn_checkpoint


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """The folder of the drawn checkpoint; tests that change something change a copy."""
    return drawn_checkpoint.write(tmp_path_factory.mktemp("checkpoint") / "drawn")


@pytest.fixture
def model_folders(tmp_path, monkeypatch) -> SimpleNamespace:
    """Empty model folders that ComfyUI looks into instead of its own."""
    folders = {}
    for name in ("checkpoints", "diffusion_models", "diffusers"):
        folders[name] = tmp_path / "models" / name
        folders[name].mkdir(parents=True)
        suffixes = folder_paths.folder_names_and_paths[name][1]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(folders[name])], suffixes))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return SimpleNamespace(**folders)
