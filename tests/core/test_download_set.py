"""A set that is published in four files, fetched by the real huggingface_hub from a hub on this machine and joined to one file."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cinemo_pack.cinemo_core import convert
from cinemo_pack.cinemo_core.download import destination
from cinemo_pack.cinemo_core.download.__main__ import main
from cinemo_pack.cinemo_core.files.checkpoint import read_metadata
from cinemo_pack.cinemo_core.models.animate_anyone.keys import normalise
from cinemo_pack.cinemo_core.models.animate_anyone.published import PUBLISHED
from cinemo_pack.tests.drawn_animate_anyone import published_set
from cinemo_pack.tests.hub import Hub
from safetensors.torch import load_file

SET = PUBLISHED[1]  # whose files are in a folder of its repository
RESULT = "musepose.safetensors"


@pytest.fixture(scope="module")
def joined() -> dict[str, torch.Tensor]:
    """The set's tensors under the names used here."""
    return normalise({f"{file}.{name}": tensor for file, tensors in published_set().items() for name, tensor in tensors.items()})


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    (folder / "MusePose").mkdir()
    for file, tensors in published_set().items():
        torch.save({name: tensor.float() for name, tensor in tensors.items()}, folder / "MusePose" / f"{file}.pth")
    (folder / "README.md").write_bytes(b"not needed")
    return folder


@pytest.fixture
def hub(repository, monkeypatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Hub(repository, SET.repository) as hub:
        yield hub


@pytest.fixture
def download(hub, tmp_path, capsys, monkeypatch) -> Callable[..., SimpleNamespace]:
    def run(*options):
        hub.requests.clear()
        for handler in logging.getLogger("huggingface_hub").handlers:  # made in an earlier test, with its stream
            monkeypatch.setattr(handler, "stream", sys.stderr)
        code = main([SET.name, "--dest", str(tmp_path / "sets"), "--endpoint", hub.url, *options])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err, folder=tmp_path / "sets" / "MusePose")

    return run


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_is(path, joined: dict[str, torch.Tensor], dtype: torch.dtype = torch.float16) -> None:
    found = load_file(path)
    assert found.keys() == joined.keys()
    assert all(torch.equal(found[name], tensor.to(dtype)) for name, tensor in joined.items())


def test_the_files_become_one_in_a_folder_of_the_sets_name(download, joined):
    result = download()
    assert result.code == 0, result.err
    assert names(result.folder) == {RESULT}
    assert_is(result.folder / RESULT, joined)
    assert read_metadata(result.folder / RESULT)["cinemo.dtype"] == "fp16"
    assert f"{SET.page} says what its license allows." in result.out
    assert result.out.splitlines()[-1] == "Next: press R in ComfyUI, and choose MusePose in Cinemo Animate Anyone Loader."


def test_a_second_run_does_nothing_and_another_type_is_refused(download, hub):
    download()
    result = download()
    assert result.code == 0 and "Nothing to do" in result.out
    assert [seen.path for seen in hub.requests] == [f"/api/models/{SET.repository}"]
    other = download("--dtype", "bf16")
    assert other.code == 1 and "holds fp16, expected bf16; delete it to convert it again" in other.err


def test_files_that_are_there_are_used_and_kept(download, hub, repository, joined):
    result = download("--keep-original")
    files = {path.name for path in (repository / "MusePose").iterdir()}
    assert result.code == 0 and names(result.folder) == {RESULT, *files}
    (result.folder / RESULT).unlink()
    (result.folder / "pose_guider.pth").unlink()
    assert download().code == 0
    assert [path for path in hub.files if hub.starts(path)] == ["MusePose/pose_guider.pth"]
    assert_is(result.folder / RESULT, joined)
    (result.folder / "motion_module.pth").write_bytes(b"other")
    (result.folder / RESULT).unlink()
    other = download()
    assert other.code == 1 and "motion_module.pth differs from the published file (" in other.err


def test_a_wrong_checksum_is_refused(download, hub):
    hub.corrupt.add("MusePose/reference_unet.pth")
    result = download()
    assert result.code == 1 and "expected" in result.err and not (result.folder / RESULT).exists()


def test_it_goes_to_the_sets_of_comfyui(tmp_path):
    pack = tmp_path / "custom_nodes" / "cinemo"
    assert destination.default_destination(pack, Path("models", SET.models)) == tmp_path / "models" / "animate_anyone"


@pytest.mark.parametrize("suffix", [".pth", ".bin"])
def test_the_converter_joins_a_folder_of_a_set(tmp_path, joined, suffix):
    (tmp_path / "set").mkdir()
    for file, tensors in published_set().items():
        torch.save(tensors, tmp_path / "set" / f"{file}{suffix}")
    torch.save({"vision_model.embeddings.class_embedding": torch.zeros(4)}, tmp_path / "set" / "encoder.bin")
    assert convert.main([str(tmp_path / "set"), str(tmp_path / "one.safetensors"), "--dtype", "bf16"]) == 0
    assert_is(tmp_path / "one.safetensors", joined, torch.bfloat16)
    assert read_metadata(tmp_path / "one.safetensors")["cinemo.source_layout"] == "diffusers"


def test_the_converter_says_what_a_set_lacks(tmp_path, capsys):
    for file, tensors in published_set().items():
        if file != "motion_module":
            torch.save(tensors, tmp_path / f"{file}.pth")
    assert convert.main([str(tmp_path), str(tmp_path / "one.safetensors")]) == 1
    assert "lacks the motion module of an Animate Anyone set; found: denoising_unet.pth (UNet)" in capsys.readouterr().err


@pytest.mark.parametrize("document", ["README.md", "web/docs/CinemoAnimateAnyoneLoader.md"])
def test_the_documents_name_every_published_set(root, document):
    text = (root / document).read_text(encoding="utf-8")
    assert all(published.page in text and published.name in text and published.size in text for published in PUBLISHED)
