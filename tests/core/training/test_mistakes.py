"""What a run refuses, each in one sentence, and if it can be before the first step."""

import re
from pathlib import Path

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.training import trainer
from cinemo_pack.cinemo_core.training.__main__ import main
from cinemo_pack.cinemo_core.training.trainer import train

from .runs import write_toml


def test_bad_pictures_and_parts_are_reported_before_the_first_step(table, to_config, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    cases = [
        ({"validation": {"cases": [{"image": str(tmp_path / "text.png")}]}}, "names a picture, but .*text.png cannot be read"),
        ({"model": table["model"] | {"train_text_encoder": False}}, "model.text_encoder is missing"),
        ({"model": table["model"] | {"tokenizer": str(tmp_path)}}, "holds no CLIP tokenizer"),
        ({"model": table["model"] | {"vae": str(tmp_path)}}, "holds no weights"),
        (
            {"model": table["model"] | {"vae_temporal_decoder": table["model"]["vae"]}},
            "is a VAE for images; give the one with the temporal",
        ),
        ({"optimizer": {"eight_bit": True}}, "needs the package bitsandbytes"),
        (
            {"model": table["model"] | {"held_weights": "pass_through"}, "optimizer": {"weight_decay": 0.0}},
            "has 64 channels, and to pass X_t on in held weights it needs 96 and attention",
        ),
        ({"export": {"folder": str(tmp_path)}}, "exists and is not an earlier export"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            train(to_config(table | change))
    assert not (Path(table["run"]["output"]) / "losses.jsonl").exists()


def test_a_mistake_is_one_line(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("[data]\n")
    assert main([str(tmp_path / "a.toml")]) == 1
    assert capsys.readouterr().err == "training: model is missing; add it.\n"


def test_a_mistake_that_a_reading_process_finds_is_one_line(table, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video" * 50)
    table["data"] |= {"path": str(tmp_path / "videos"), "workers": 1}
    assert main([str(write_toml(table, tmp_path / "a.toml"))]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"training: 100 clips in a row could not be used, the last because .*broken\.mp4 .*; check data\.path\.", last)


def test_too_little_memory_is_one_line(table, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(trainer, "inputs", fail)
    assert main([str(write_toml(table, tmp_path / "a.toml"))]) == 1
    assert "training: there is not memory enough (CUDA out of memory); lower run.batch and raise" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["configuration", "accelerate"])
def test_muon_is_refused_with_fp16(table, to_config, monkeypatch, where):
    table["optimizer"] |= {"muon_rate": 0.01}
    if where == "configuration":
        table["run"]["precision"] = "fp16"
    else:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(InputError, match="muon_rate is set, but fp16 scales gradients for one optimiser only"):
        train(to_config(table))


def test_what_accelerate_refuses_is_reported(table, to_config, fresh_engine, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp17")
    with pytest.raises(InputError, match=r"accelerate refuses to start \(.*fp17.*\); change run\.precision, or"):
        train(to_config(table))


def test_what_contradicts_accelerate_is_reported(table, to_config, fresh_engine, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(InputError, match="is configured to accumulate 4 batches, run.accumulation is 1; give both the same number"):
        train(to_config(table))


def test_weights_that_are_no_numbers_are_not_saved(table, to_config):
    table["optimizer"] |= {"learning_rate": 1e30, "clip_norm": 0.0, "warmup": 0}
    table["run"] |= {"log_every": 1000, "checkpoint_every": 3}
    with pytest.raises(InputError, match="The weights ceased to be numbers by step 3; lower optimizer.learning_rate"):
        train(to_config(table))
    assert not (Path(table["run"]["output"]) / "checkpoints").exists()
    table["run"]["log_every"] = 1
    with pytest.raises(InputError, match="The loss became (nan|inf) by step"):
        train(to_config(table))


def test_another_configuration_does_not_go_on(table, to_config):
    assert train(to_config(table))
    table["optimizer"]["learning_rate"] = 5e-4
    table["data"]["seed"] = 3
    with pytest.raises(InputError, match=r"holds a run with another data.seed, optimizer.learning_rate; choose another run.output"):
        train(to_config(table))
