"""One safetensors file from every accepted source, whole or not at all."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from cinemo_pack.cinemo_core import convert
from cinemo_pack.cinemo_core.files.checkpoint import read_metadata, read_state_dict
from cinemo_pack.cinemo_core.models.cinemo import keys
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.tests import drawn
from safetensors import safe_open
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """The drawn UNet in diffusers layout."""
    return drawn.unet_weights()


@pytest.fixture(scope="module")
def ldm(weights) -> dict[str, torch.Tensor]:
    return keys.normalise(weights)


@pytest.fixture
def source(tmp_path, weights):
    path = tmp_path / "source.safetensors"
    save_file(weights, path)
    return path


def run(*arguments) -> int:
    return convert.main([str(a) for a in arguments])


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


class TestSources:
    def check(self, tmp_path, source, ldm, layout):
        target = tmp_path / "target.safetensors"
        assert run(source, target) == 0
        assert_equal(load_file(target), ldm)
        assert read_metadata(target)["cinemo.source_layout"] == layout

    @pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
    def test_diffusers_file(self, tmp_path, weights, ldm, suffix):
        path = tmp_path / f"unet{suffix}"
        save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
        self.check(tmp_path, path, ldm, "diffusers")

    def test_nested_file(self, tmp_path, weights, ldm):
        torch.save({"ema": weights, "step": 1}, tmp_path / "cinemo.pt")
        self.check(tmp_path, tmp_path / "cinemo.pt", ldm, "diffusers")

    def test_ldm_file(self, tmp_path, ldm):
        save_file(ldm, tmp_path / "ldm.safetensors")
        self.check(tmp_path, tmp_path / "ldm.safetensors", ldm, "ldm")

    def test_full_checkpoint(self, tmp_path, ldm):
        extra = {"first_stage_model.encoder.conv_in.weight": torch.zeros(3), "cond_stage_model.x": torch.zeros(2)}
        save_file({f"model.diffusion_model.{k}": v for k, v in ldm.items()} | extra, tmp_path / "full.safetensors")
        self.check(tmp_path, tmp_path / "full.safetensors", ldm, "ldm, prefixed")

    def test_unet_folder_and_checkpoint_folder(self, tmp_path, weights, ldm):
        folder = tmp_path / "checkpoint"
        (folder / "unet").mkdir(parents=True)
        save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
        self.check(tmp_path, folder, ldm, "diffusers")
        (tmp_path / "target.safetensors").unlink()
        self.check(tmp_path, folder / "unet", ldm, "diffusers")

    def test_converted_file_converts_again(self, tmp_path, source, ldm):
        assert run(source, tmp_path / "one.safetensors") == 0
        self.check(tmp_path, tmp_path / "one.safetensors", ldm, "ldm")


@pytest.mark.parametrize(("option", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_dtypes(tmp_path, source, ldm, option, dtype):
    target = tmp_path / "target.safetensors"
    assert run(source, target, "--dtype", option) == 0
    assert_equal(load_file(target), {k: v.to(dtype) for k, v in ldm.items()})
    assert read_metadata(target)["cinemo.dtype"] == option


def test_metadata_and_layout_of_the_file(tmp_path, source):
    target = tmp_path / "target.safetensors"
    assert run(source, target) == 0
    with safe_open(target, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["cinemo.format_version"] == "1"
    assert CinemoConfig.from_unet_config(json.loads(metadata["cinemo.config"])) == drawn.UNET
    (tmp_path / "new").touch()
    assert target.stat().st_mode == (tmp_path / "new").stat().st_mode  # not private like a temporary file


def test_tensors_of_mixed_types_lie_aligned(tmp_path, weights):
    mixed = {name: w.to((torch.float8_e4m3fn, torch.float32, torch.float16)[i % 3]) for i, (name, w) in enumerate(weights.items())}
    mixed |= {name: w for name, w in weights.items() if "rotary" in name}
    torch.save(mixed, tmp_path / "mixed.pt")
    target = tmp_path / "target.safetensors"
    assert run(tmp_path / "mixed.pt", target) == 0
    header = json.loads(target.read_bytes()[8 : 8 + int.from_bytes(target.read_bytes()[:8], "little")])
    sizes = {"F32": 4, "F16": 2, "F8_E4M3": 1}
    starts = {(sizes[info["dtype"]], info["data_offsets"][0]) for name, info in header.items() if name != "__metadata__"}
    assert {size for size, _ in starts} == {1, 2, 4}
    assert all(start % size == 0 for size, start in starts)


def test_tensors_that_share_memory_are_written_apart(tmp_path, weights, ldm):
    """As torch saves what a module shares, and what is a view with other strides."""
    first, second, *_ = (n for n in sorted(weights) if n.endswith("attn1.to_q.weight") and weights[n].shape == (96, 96))
    shared = weights | {first: weights[second], "conv_in.weight": weights["conv_in.weight"].transpose(2, 3).contiguous().transpose(2, 3)}
    torch.save(shared, tmp_path / "shared.pt")
    assert run(tmp_path / "shared.pt", tmp_path / "target.safetensors") == 0
    assert_equal(load_file(tmp_path / "target.safetensors"), keys.normalise(shared))


def test_progress(tmp_path, source, capsys):
    assert run(source, tmp_path / "target.safetensors", "--dtype", "bf16") == 0
    printed = capsys.readouterr().err
    percents = [int(p) for p in re.findall(r"\r(\d+) % of \d+ MB converted", printed)]
    assert percents == sorted(set(percents))
    assert len(percents) > 30
    assert re.search(r"\r100 % of \d+ MB converted\n", printed)
    assert printed.endswith("target.safetensors\n")


class TestTarget:
    def test_is_not_replaced_without_force(self, tmp_path, source, capsys):
        target = tmp_path / "target.safetensors"
        target.write_bytes(b"mine")
        assert run(source, target) == 1
        assert "exists; choose another name, or pass --force" in capsys.readouterr().err
        assert target.read_bytes() == b"mine"
        assert run(source, target, "--force") == 0
        assert len(load_file(target)) > 100

    def test_may_be_the_source(self, source, ldm):
        assert run(source, source, "--force") == 0
        assert_equal(load_file(source), ldm)

    def test_needs_the_suffix(self, tmp_path, source, capsys):
        assert run(source, tmp_path / "target.ckpt") == 1
        assert "does not end in .safetensors" in capsys.readouterr().err

    def test_needs_a_folder(self, tmp_path, source, capsys):
        assert run(source, tmp_path / "absent" / "target.safetensors") == 1
        assert "create it first" in capsys.readouterr().err

    def test_needs_space(self, tmp_path, source, capsys, monkeypatch):
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        assert run(source, tmp_path / "target.safetensors") == 1
        assert "GB are needed" in capsys.readouterr().err

    @pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="This system reserves no space for a file.")
    def test_what_is_converted_has_its_space_before_it_is_written(self, tmp_path):
        """A process that writes to the memory of a sparse file is killed where the disk is full."""
        with (tmp_path / "scratch").open("wb") as file:
            convert.reserve(file.fileno(), 10**6)
            assert os.fstat(file.fileno()).st_size == 10**6
            assert os.fstat(file.fileno()).st_blocks * 512 >= 10**6

    @pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
    @pytest.mark.parametrize("existing", [None, b"mine"])
    def test_is_untouched_by_a_failure(self, tmp_path, source, error, existing):
        target = tmp_path / "target.safetensors"
        if existing:
            target.write_bytes(existing)
        before = sorted(f.name for f in tmp_path.iterdir())

        def fail(done, total):
            if done > total / 2:
                raise error

        with pytest.raises(type(error)):
            convert.convert(source, target, torch.bfloat16, True, fail)
        assert sorted(f.name for f in tmp_path.iterdir()) == before
        assert not existing or target.read_bytes() == existing


def test_value_beyond_float16_is_refused(tmp_path, weights, capsys):
    path = tmp_path / "wide.safetensors"
    save_file(weights | {"conv_in.bias": torch.full((64,), 1e6)}, path)
    assert run(path, tmp_path / "target.safetensors", "--dtype", "fp16") == 1
    assert "reaches 1e+06, more than float16 holds" in capsys.readouterr().err
    assert not (tmp_path / "target.safetensors").exists()
    assert run(path, tmp_path / "target.safetensors", "--dtype", "bf16") == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no weights"),
        (lambda path: save_file({"encoder.conv_in.weight": torch.zeros(1)}, path), "Animate Anyone UNet; it is a VAE"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
def test_bad_sources(tmp_path, capsys, make, message):
    path = tmp_path / "source.safetensors"
    make(path)
    assert run(path, tmp_path / "target.safetensors") == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "target.safetensors").exists()


def test_incomplete_source(tmp_path, weights, capsys):
    torch.save({k: v for k, v in weights.items() if "mid_block.resnets.1" not in k}, tmp_path / "part.pt")
    assert run(tmp_path / "part.pt", tmp_path / "target.safetensors") == 1
    assert "lacks" in capsys.readouterr().err


def test_command_line(tmp_path, source, root):
    """As `python -m cinemo_core.convert`: the core also works as a top-level package."""
    target = tmp_path / "target.safetensors"
    command = [sys.executable, "-m", "cinemo_core.convert", str(source), str(target), "--dtype", "fp32"]
    done = subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_state_dict(target)["out.2.bias"].dtype == torch.float32
