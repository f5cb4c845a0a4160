"""Checkpoint files: good ones give their tensors, each kind of damage its sentence."""

import argparse
import json
import os
import pickle
import struct

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.files.checkpoint import compare, read_metadata, read_names, read_shapes, read_state_dict, unwrap
from cinemo_pack.cinemo_core.models.recognise import describe
from safetensors.torch import save_file

TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b.half": torch.ones(5, dtype=torch.float16),
    "c.brain": torch.ones(2, 1, 2, dtype=torch.bfloat16),
    "d.float8": torch.ones(4).to(torch.float8_e4m3fn),
    "e.index": torch.tensor(3),
    "f.empty": torch.zeros(0, 7),
}


class Command:
    """What a malicious pickle runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def raw_safetensors(header: dict, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.float())


class TestReading:
    @pytest.mark.parametrize("suffix", [".safetensors", ".sft", ".SAFETENSORS"])
    def test_safetensors(self, tmp_path, suffix):
        path = tmp_path / f"model{suffix}"
        save_file(TENSORS, path)
        assert_same(read_state_dict(path), TENSORS)

    @pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
    @pytest.mark.parametrize("zip_form", [True, False])
    def test_pickles(self, tmp_path, suffix, zip_form):
        path = tmp_path / f"model{suffix}"
        tensors = {k: v for k, v in TENSORS.items() if zip_form or "float8" not in k}  # the old form has no float8
        torch.save(tensors, path, _use_new_zipfile_serialization=zip_form)
        assert_same(read_state_dict(path), tensors)

    @pytest.mark.parametrize("metadata", [{"note": "text"}, {}, None])
    def test_metadata(self, tmp_path, metadata):
        save_file(TENSORS, tmp_path / "model.safetensors", metadata=metadata)
        assert read_metadata(tmp_path / "model.safetensors") == (metadata or {})

    @pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
    def test_a_file_that_may_not_be_read(self, as_nobody, name):
        path = as_nobody.folder / name
        path.write_bytes(b"secret")
        path.chmod(0)
        with as_nobody(), pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\); check its permissions"):
            read_state_dict(path)

    @pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
    def test_shapes(self, tmp_path, name):
        save = save_file if name.endswith("safetensors") else torch.save
        save(TENSORS, tmp_path / name)
        assert read_shapes(tmp_path / name) == {n: tuple(t.shape) for n, t in TENSORS.items()}


class TestNames:
    @pytest.mark.parametrize("name", ["model.safetensors", "model.SFT"])
    def test_safetensors(self, tmp_path, name):
        save_file(TENSORS, tmp_path / name)
        assert read_names(tmp_path / name) == set(TENSORS)

    @pytest.mark.parametrize("nested", [False, True])
    @pytest.mark.parametrize("zip_form", [True, False])
    def test_pickles_by_their_texts_without_their_tensors(self, tmp_path, zip_form, nested):
        path = tmp_path / "model.ckpt"
        tensors = {k: v for k, v in TENSORS.items() if "float8" not in k}
        torch.save({"state_dict": tensors, "epoch": 3} if nested else tensors, path, _use_new_zipfile_serialization=zip_form)
        assert set(tensors) <= read_names(path)

    def test_a_pickle_that_is_no_checkpoint(self, tmp_path):
        path = tmp_path / "model.bin"
        path.write_bytes(pickle.dumps({"a.weight": 1}))
        assert read_names(path) == {"a.weight"}

    def test_code_is_not_run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        torch.save(TENSORS | {"code": Command()}, "model.pt")
        assert set(TENSORS) <= read_names("model.pt")
        assert not os.path.exists("ran")

    @pytest.mark.parametrize("kept", [0, 10, 200, -30])
    @pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
    def test_damaged_files(self, tmp_path, name, kept):
        path = tmp_path / name
        (save_file if name.endswith("safetensors") else torch.save)(TENSORS, path)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(CheckpointError, match="download"):
            read_names(path)


class TestUnwrap:
    inner = {"w": torch.ones(1)}
    average = {"w": torch.zeros(1)}

    @pytest.mark.parametrize(
        "loaded",
        [
            inner,
            {"model": inner},
            {"state_dict": inner, "epoch": 2},
            {"ema": inner, "opt": {"lr": 0.1}},
            {"state_dict": {"model": inner}},
            {"module": inner, "ds_config": {"fp16": True}},
            {"model": average, "ema": inner},
            {"state_dict": average, "model": inner},
        ],
    )
    def test_finds_the_state_dict(self, loaded):
        assert unwrap(loaded)["w"].item() == 1

    def test_says_which_it_took(self, caplog):
        caplog.set_level("INFO")
        unwrap({"model": self.inner, "ema": self.average}, "file.pt")
        assert "file.pt holds the weights ema, model; using ema" in caplog.text

    def test_drops_what_is_no_tensor(self):
        assert unwrap({"w": torch.ones(1), "step": 3, "name": "x"}).keys() == {"w"}

    @pytest.mark.parametrize("loaded", [{}, {"model": {}}, {"model": 3}, {"step": 1}, [torch.ones(1)], torch.ones(1), None])
    def test_nothing_to_find(self, loaded):
        with pytest.raises(CheckpointError, match="holds no tensors by name"):
            unwrap(loaded)


def truncated(write, kept):
    def make(path):
        write(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])

    return make


def content(data: bytes):
    return lambda path: path.write_bytes(data)


def pickled(value, protocol: int):
    return lambda path: path.write_bytes(pickle.dumps(value, protocol=protocol))


BIG = {"w": torch.zeros(5000)}
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
SIX_BITS = {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}  # known to safetensors, not to torch
DAMAGED = [
    ("cut.safetensors", truncated(lambda path: save_file(BIG, path), 0.5), "the download broke off"),
    (
        "cut_by_one.safetensors",
        truncated(lambda path: save_file(BIG, path), -1),
        "has 20,071 bytes, not as many as its header says",
    ),
    (
        "cut_in_header.safetensors",
        truncated(lambda path: save_file(BIG, path), 20),
        "has 20 bytes, not as many as its header says",
    ),
    ("cut_at_start.safetensors", truncated(lambda path: save_file(BIG, path), 5), "is damaged"),
    ("empty.safetensors", content(b""), "is empty"),
    ("page.safetensors", content(b"<!DOCTYPE html><html>Not found</html>"), "is a web page"),
    ("pointer.safetensors", content(b"version https://git-lfs.example/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
    ("pickle.safetensors", lambda path: torch.save(BIG, path), "not the kind of file that its name says"),
    ("nothing.safetensors", content(raw_safetensors({})), "holds no tensors"),
    ("list.safetensors", content(raw_safetensors([1, 2])), "is damaged"),
    ("entry.safetensors", content(raw_safetensors({"a": 3})), "is damaged"),
    ("offsets.safetensors", content(raw_safetensors({"a": ENTRY | {"shape": [3]}}, bytes(8))), "is damaged"),
    ("longer.safetensors", content(raw_safetensors({"a": ENTRY}, bytes(9))), "not as many as its header says"),
    ("dtype.safetensors", content(raw_safetensors({"a": ENTRY | {"dtype": "F3"}}, bytes(8))), "stores tensors as F3, a type"),
    ("dtype_of_torch.safetensors", content(raw_safetensors({"a": SIX_BITS}, bytes(3))), "stores tensors as F6_E2M3, a type"),
    ("cut.pt", truncated(lambda path: torch.save(BIG, path), 0.5), "is damaged"),
    ("cut_old.pt", truncated(lambda path: torch.save(BIG, path, _use_new_zipfile_serialization=False), 0.5), "is damaged"),
    ("empty.bin", content(b""), "is empty"),
    ("page.bin", content(b"\n<html></html>"), "is a web page"),
    ("noise.ckpt", content(bytes(range(256)) * 4), "is damaged"),
    ("safetensors.bin", lambda path: save_file(BIG, path), "not the kind of file that its name says"),
    ("code.pt", lambda path: torch.save(BIG | {"x": Command()}, path), r"holds Python code or objects \(\w+.mkdir\)"),
    ("code0.bin", pickled({"x": Command()}, 0), "holds Python code or objects"),
    ("code2.bin", pickled({"x": Command()}, 2), "holds Python code or objects"),
    ("code5.bin", pickled({"x": Command()}, 5), "holds Python code or objects"),
    ("objects.pt", lambda path: torch.save({"ema": BIG, "args": argparse.Namespace(a=1)}, path), r"objects \(argparse.Namespace\)"),
    ("module.pt", lambda path: torch.save(torch.nn.Linear(1, 1), path), r"objects \(torch.nn.modules.linear.Linear\)"),
    ("list.pt", lambda path: torch.save([torch.ones(1)], path), "holds no tensors by name"),
    ("notes.txt", content(b"text"), "its name ends in .txt, expected one of .safetensors"),
    ("bare", content(b"text"), "its name ends in nothing"),
    ("folder.safetensors", lambda path: path.mkdir(), "is a folder; choose the weights file in it"),
    ("absent.safetensors", lambda path: None, "does not exist"),
]


@pytest.mark.parametrize(("name", "make", "message"), DAMAGED, ids=[name for name, _, _ in DAMAGED])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files(tmp_path, monkeypatch, name, make, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    make(path)
    with pytest.raises(CheckpointError, match=message) as error:
        read_state_dict(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


class TestCompare:
    expected = {"a": (1, 2), "b": (3,), "c": (4,), "d": (5,)}

    def test_equal(self):
        compare(dict(self.expected), self.expected, "It")

    def test_every_difference_is_reported(self):
        found = {"a": (2, 2), "e": (1,)}
        with pytest.raises(CheckpointError) as error:
            compare(found, self.expected, "The file x")
        message = str(error.value)
        assert message.startswith("The file x lacks 3 tensors (b, c, ...)")
        assert "has the unknown 1 tensors (e)" in message
        assert "a [2, 2] instead of [1, 2]" in message


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"conv_in.weight": (32, 4, 3, 3), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": (32, 768)}, "an SD1.x UNet"),
        ({"conv_in.weight": (32, 4, 3, 3), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": (32, 2048)}, "an SDXL UNet"),
        (
            {"conv_in.weight": (32, 4, 3, 3), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": (32, 5)},
            "an image UNet of unknown family",
        ),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (32, 8, 3, 3),
                "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": (32, 1024),
                "model.diffusion_model.middle_block.1.time_stack.0.attn2.to_k.weight": (32, 1024),
                "first_stage_model.decoder.conv_in.weight": (32, 4, 3, 3),
            },
            "a Stable Video Diffusion checkpoint",
        ),
        ({"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (320,)}, "an AnimateDiff motion module"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (4, 4)}, "a LoRA"),
        ({"unet.up.processor.to_q_lora.down.weight": (4, 4)}, "a LoRA"),
        (
            {"down_blocks.0.attn_temp.time_rel_pos_bias.relative_attention_bias.weight": (32, 8), "motion_embed.0.weight": (32, 8)},
            "a Cinemo UNet",
        ),
        ({"encoder.conv_in.weight": (32, 3, 3, 3), "decoder.conv_in.weight": (32, 4, 3, 3)}, "a VAE"),
        ({"decoder.conv_in.weight": (32, 4, 3, 3), "decoder.time_conv_out.weight": (3, 3, 3, 1, 1)}, "a temporal VAE"),
        ({"embeddings.token_embedding.weight": (49408, 64)}, "a CLIP text encoder"),
        ({"blocks.0.weight": (3,)}, "an unknown model"),
        ({}, "an unknown model"),
    ],
)
def test_describe(shapes, words):
    assert describe(shapes) == words
