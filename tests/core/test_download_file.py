"""A model that is published as one file, fetched by the real huggingface_hub from a hub on this machine and converted whole."""

import logging
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from cinemo_pack.cinemo_core.convert import convert
from cinemo_pack.cinemo_core.download import destination
from cinemo_pack.cinemo_core.download.__main__ import main
from cinemo_pack.cinemo_core.files.checkpoint import read_metadata
from cinemo_pack.cinemo_core.models.dynamicrafter.keys import normalise
from cinemo_pack.cinemo_core.models.dynamicrafter.published import PUBLISHED
from cinemo_pack.cinemo_core.models.dynamicrafter.variants import TOONCRAFTER, variant_of
from cinemo_pack.tests import drawn_dynamicrafter as drawn
from cinemo_pack.tests.hub import Hub
from safetensors.torch import load_file

MODEL = PUBLISHED[0]
RESULT = "dynamicrafter_512.safetensors"


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in drawn.checkpoint(base=0.3).items()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, tensors):
    folder = tmp_path_factory.mktemp("repository")
    mask = {"cond_stage_model.model.attn_mask": torch.zeros(77, 77), "embedder.model.token_embedding.weight": torch.zeros(9, 9)}
    torch.save({"state_dict": tensors | mask}, folder / "model.ckpt")
    (folder / "README.md").write_bytes(b"not needed")
    return folder


@pytest.fixture
def hub(repository, monkeypatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Hub(repository, MODEL.repository) as hub:
        yield hub


@pytest.fixture
def download(hub, tmp_path, capsys, monkeypatch) -> Callable[..., SimpleNamespace]:
    def run(*options):
        hub.requests.clear()
        for handler in logging.getLogger("huggingface_hub").handlers:  # made in an earlier test, with its stream
            monkeypatch.setattr(handler, "stream", sys.stderr)
        code = main([MODEL.name, "--dest", str(tmp_path / "checkpoints"), "--endpoint", hub.url, *options])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err, folder=tmp_path / "checkpoints")

    return run


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_file_is_converted_with_all_of_its_parts(download, hub, tensors):
    result = download()
    assert result.code == 0, result.err
    assert names(result.folder) == {RESULT}
    assert "These weights are for research and non-commercial use." in result.out
    assert result.out.splitlines()[-1] == f"Next: press R in ComfyUI, and choose {RESULT} in Cinemo DynamiCrafter Loader."
    found = load_file(result.folder / RESULT)
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    other_parts = {name for name in tensors if not name.startswith(("model.diffusion_model.", "image_proj_model.", "betas"))}
    assert "scale_arr" in other_parts and other_parts < set(found)
    assert len(found) == len(other_parts) + len(normalise(tensors)), "the network, and nothing that is not used"
    again = normalise(found)
    assert all(torch.equal(again[name], tensor.half()) for name, tensor in normalise(tensors).items())
    assert all(torch.equal(found[name], tensors[name].half()) for name in other_parts)
    assert read_metadata(result.folder / RESULT)["cinemo.dtype"] == "fp16"


def test_a_second_run_does_nothing_and_another_type_is_refused(download, hub):
    download()
    result = download()
    assert result.code == 0 and "Nothing to do" in result.out
    assert [seen.path for seen in hub.requests] == [f"/api/models/{MODEL.repository}"]
    other = download("--dtype", "bf16")
    assert other.code == 1 and "holds fp16, expected bf16; delete it to convert it again" in other.err


def test_the_original_is_kept_and_used_again(download, hub):
    result = download("--keep-original", "--name", "mine")
    assert result.code == 0 and names(result.folder) == {"mine.safetensors", "mine.ckpt"}
    assert (result.folder / "mine.ckpt").read_bytes() == hub.files["model.ckpt"]
    (result.folder / "mine.safetensors").unlink()
    assert download("--name", "mine").code == 0
    assert hub.starts("model.ckpt") == [] and names(result.folder) == {"mine.safetensors", "mine.ckpt"}
    (result.folder / "mine.ckpt").write_bytes(b"other")
    other = download("--name", "mine")
    assert other.code == 1 and "mine.ckpt differs from the published file (sha256" in other.err


def test_a_run_that_gave_up_is_continued_by_the_next(download, hub):
    chunk = 10 * 1024 * 1024  # what huggingface_hub writes at once
    assert len(hub.files["model.ckpt"]) > chunk + 1000
    hub.cut["model.ckpt"] = [chunk + 1000, *[0] * 50]
    result = download()
    assert result.code == 1 and "run the same command again to continue" in result.err
    hub.cut.clear()
    assert download().code == 0
    assert hub.starts("model.ckpt") == [chunk]


def test_a_wrong_checksum_is_refused(download, hub):
    hub.corrupt.add("model.ckpt")
    result = download()
    assert result.code == 1 and "expected" in result.err and not (result.folder / RESULT).exists()


def test_the_image_vae_is_an_option_of_cinemo(download):
    result = download("--image-vae")
    assert result.code == 1 and "--image-vae is for cinemo alone" in result.err


def test_tooncrafter_keeps_its_own_vae(tmp_path, capsys, monkeypatch):
    """What its decoder reads of the two pictures, by which the loader recognises it, is in the converted file."""
    toon = next(file for file in PUBLISHED if file.name == "tooncrafter")
    vae = {f"first_stage_model.{name}": tensor for name, tensor in drawn.toon_vae().items()}
    (tmp_path / "hub").mkdir()
    torch.save({"state_dict": drawn.checkpoint(("network",)) | vae}, tmp_path / "hub" / toon.file)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Hub(tmp_path / "hub", toon.repository) as hub:
        assert main(["tooncrafter", "--dest", str(tmp_path / "checkpoints"), "--endpoint", hub.url]) == 0
    assert f"These weights are {toon.terms}." in capsys.readouterr().out
    found = load_file(tmp_path / "checkpoints" / toon.target)
    assert variant_of(False, found) is TOONCRAFTER
    assert all(torch.equal(found[name], tensor.half()) for name, tensor in vae.items())


def test_an_unknown_model_is_answered_with_the_known_ones(download, capsys):
    with pytest.raises(SystemExit):
        main(["dynamicrafter"])
    assert all(file.name in capsys.readouterr().err for file in PUBLISHED[:1])


def test_it_goes_to_the_checkpoints_of_comfyui(tmp_path):
    pack = tmp_path / "custom_nodes" / "cinemo"
    assert destination.default_destination(pack, destination.CHECKPOINTS) == tmp_path / "models" / "checkpoints"


def test_a_file_of_network_and_projector_is_converted_as_it_is(tmp_path):
    torch.save(drawn.checkpoint(("network",)), tmp_path / "split.ckpt")
    convert(tmp_path / "split.ckpt", tmp_path / "out.safetensors", torch.bfloat16, False, lambda *_: None)
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == normalise(drawn.checkpoint(("network",))).keys()


@pytest.mark.parametrize("document", ["README.md", "web/docs/CinemoDynamiCrafterLoader.md"])
def test_the_documents_name_every_published_file_and_its_terms(root, document):
    text = (root / document).read_text(encoding="utf-8")
    assert all(file.page in text and file.name.removeprefix("dynamicrafter") in text for file in PUBLISHED)
    assert MODEL.terms in text and MODEL.size in text
