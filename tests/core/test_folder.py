"""Folders in diffusers layout."""

import pytest
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.files.folder import check_options, find_weights, read_bundle, read_config


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


class TestFindWeights:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["diffusion_pytorch_model.bin"], "diffusion_pytorch_model.bin"),
            (["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"], "diffusion_pytorch_model.safetensors"),
            (["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"], "diffusion_pytorch_model.fp16.safetensors"),
            (["diffusion_pytorch_model.fp16.bin", "diffusion_pytorch_model.bin"], "diffusion_pytorch_model.bin"),
            (["pytorch_model.bin", "model.safetensors"], "model.safetensors"),
            (["diffusion_pytorch_model.bin", "other.safetensors", "config.json"], "diffusion_pytorch_model.bin"),
            (["mine.pt", "notes.txt"], "mine.pt"),
            (["mine.pt", "mine.safetensors"], "mine.safetensors"),
        ],
    )
    def test_choice(self, tmp_path, names, expected):
        assert find_weights(make(tmp_path, *names)) == tmp_path / expected

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], "holds no weights; put diffusion_pytorch_model.safetensors"),
            (["config.json"], "holds no weights"),
            (["a.safetensors", "b.safetensors"], r"holds 2 weights files \(a.safetensors, b.safetensors\)"),
            (["a.bin", "b.pt"], "holds 2 weights files"),
            (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], "in 2 shards"),
        ],
    )
    def test_no_choice(self, tmp_path, names, message):
        with pytest.raises(CheckpointError, match=message):
            find_weights(make(tmp_path, *names))

    def test_absent_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match="holds no weights"):
            find_weights(tmp_path / "absent")


class TestBundle:
    def test_all_parts(self, tmp_path):
        make(
            tmp_path,
            "unet/diffusion_pytorch_model.bin",
            "vae/x",
            "vae_temporal_decoder/x",
            "text_encoder/x",
            "tokenizer/x",
            "scheduler/scheduler_config.json",
        )
        bundle = read_bundle(tmp_path)
        assert bundle.unet == tmp_path / "unet/diffusion_pytorch_model.bin"
        assert (bundle.vae_image, bundle.vae_temporal) == (tmp_path / "vae", tmp_path / "vae_temporal_decoder")
        assert (bundle.text_encoder, bundle.tokenizer) == (tmp_path / "text_encoder", tmp_path / "tokenizer")
        assert bundle.scheduler == tmp_path / "scheduler/scheduler_config.json"

    def test_absent_parts(self, tmp_path):
        bundle = read_bundle(make(tmp_path, "unet/only.safetensors", "cinemo.pt"))
        assert bundle.unet == tmp_path / "unet/only.safetensors"
        assert {bundle.vae_image, bundle.vae_temporal, bundle.text_encoder, bundle.tokenizer, bundle.scheduler} == {None}

    def test_no_unet(self, tmp_path):
        with pytest.raises(CheckpointError, match="has no unet/ folder; put the checkpoint there"):
            read_bundle(make(tmp_path, "cinemo.pt"))

    def test_no_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match="is not a folder"):
            read_bundle(tmp_path / "absent")


class TestConfig:
    def test_read(self, tmp_path):
        (tmp_path / "config.json").write_text('{"a": 1}')
        assert read_config(tmp_path) == {"a": 1}
        assert read_config(tmp_path, "other.json") == {}
        assert read_config(None) == {}

    def test_a_byte_order_mark_is_no_part_of_it(self, tmp_path):
        (tmp_path / "config.json").write_text('{"a": "ö"}', encoding="utf-8-sig")
        assert read_config(tmp_path) == {"a": "ö"}

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"", "is not a JSON object"), (b"{", "is not a"), (b"[1]", "is not a JSON"), (b"\xff", "is not UTF-8")],
    )
    def test_damaged(self, tmp_path, content, message):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            read_config(tmp_path)

    def test_options(self, tmp_path):
        check_options(tmp_path, {"act_fn": "silu", "more": 3}, {"act_fn": "silu", "norm_eps": 1e-5})
        with pytest.raises(CheckpointError, match='act_fn = "relu", expected "silu"'):
            check_options(tmp_path, {"act_fn": "relu"}, {"act_fn": "silu"})
