"""Whole runs: resume after a kill, what a run writes, the starts and switches, several processes."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.files.checkpoint import read_state_dict
from cinemo_pack.cinemo_core.files.folder import read_bundle
from cinemo_pack.cinemo_core.models.recognise import recognise
from cinemo_pack.cinemo_core.training import precision, trainer
from cinemo_pack.cinemo_core.training.__main__ import main
from cinemo_pack.cinemo_core.training.trainer import train
from PIL import Image
from safetensors.torch import load_file

from .runs import losses, losses_so_far, start, wait_for_step, with_output, write_toml

UNET = "export/unet/diffusion_pytorch_model.safetensors"
TEXT = "export/text_encoder/model.safetensors"


def same_files(first: Path, second: Path) -> bool:
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in (UNET, TEXT))


@pytest.mark.parametrize(("cache", "muon_rate"), [(False, 0.0), (True, 0.01)])
def test_a_killed_run_goes_on_exactly(root, table, tmp_path, cache, muon_rate):
    """SIGKILL in the middle; afterwards every loss and every byte of the export is that of a run without it."""
    table["data"]["cache"] = cache
    table["optimizer"]["muon_rate"] = muon_rate
    table["run"]["steps"] = 12
    assert main([str(write_toml(with_output(table, tmp_path / "whole"), tmp_path / "whole.toml"))]) == 0
    toml = write_toml(with_output(table, tmp_path / "killed"), tmp_path / "killed.toml")
    process = start(root, toml)
    wait_for_step(process, tmp_path / "killed", 3)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "export").exists()
    before = len(losses_so_far(tmp_path / "killed"))
    assert 3 <= before < 12
    assert main([str(toml)]) == 0
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert same_files(tmp_path / "killed", tmp_path / "whole")


def test_a_stopped_run_saves_and_goes_on(root, table, tmp_path):
    """SIGTERM: the step under way is finished and saved, whatever the interval of checkpoints."""
    table["run"] |= {"steps": 40, "checkpoint_every": 1000}
    toml = write_toml(table, tmp_path / "run.toml")
    process = start(root, toml)
    wait_for_step(process, tmp_path / "run", 3)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1
    done = len(losses(tmp_path / "run"))
    assert f"Stopped and saved at step {done}; run the same command to resume." in words
    assert "Traceback" not in words
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [f"step-{done:08}"]
    table["run"]["steps"] = done + 2
    assert main([str(write_toml(table, toml))]) == 0
    assert [line["step"] for line in losses(tmp_path / "run")] == list(range(1, done + 3))


def test_the_loss_falls_and_the_export_is_whole(table, to_config, videos):
    table["run"] |= {"steps": 40, "batch": 4}
    table["optimizer"]["learning_rate"] = 3e-3
    assert train(to_config(table))
    output = Path(table["run"]["output"])
    curve = [line["loss"] for line in losses(output)]
    assert curve[0] == pytest.approx(1.0, abs=0.2)  # nothing predicted yet: the variance of the noise
    assert sum(curve[-8:]) / 8 < 0.8 * curve[0]

    bundle = read_bundle(output / "export")
    _, unet, config = recognise(bundle.unet, read_state_dict(bundle.unet))
    assert config.widths == (64, 64)
    assert all(tensor.dtype == torch.float16 and tensor.isfinite().all() for tensor in unet.values())
    assert unet["out.2.weight"].any()
    assert bundle.vae_image and bundle.text_encoder and bundle.scheduler and not bundle.vae_temporal
    (output / "new").touch()
    assert {file.stat().st_mode for file in (output / "export").glob("*/*.*")} == {(output / "new").stat().st_mode}  # none is private


def test_the_export_holds_the_averaged_weights(table, to_config, tmp_path):
    for ema in (0.0, 0.999):
        table["optimizer"]["ema"] = ema
        assert train(to_config(with_output(table, tmp_path / str(ema))))
    key = "conv_out.weight"
    plain, averaged = (load_file(tmp_path / name / UNET)[key].float() for name in ("0.0", "0.999"))
    # trained in the same way, but the average lags behind
    assert losses(tmp_path / "0.0") == losses(tmp_path / "0.999")
    assert 0 < averaged.norm() < 0.95 * plain.norm()


def test_checkpoints_are_few_and_whole(table, to_config):
    table["run"] |= {"keep": 2, "checkpoint_every": 1}
    assert train(to_config(table))
    folder = Path(table["run"]["output"]) / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000005", "step-00000006"]


def test_half_a_checkpoint_is_not_gone_on_from(table, to_config, tmp_path, monkeypatch):
    assert train(to_config(with_output(table, tmp_path / "whole")))
    run = with_output(table, tmp_path / "run")
    import accelerate

    real = accelerate.Accelerator.save_state

    def fail(self, folder, **options):
        real(self, folder, **options)
        if "00000004" in folder:
            raise OSError("no space left")

    monkeypatch.setattr(accelerate.Accelerator, "save_state", fail)
    with pytest.raises(OSError, match="no space"):
        train(to_config(run))
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [".step-00000004.part", "step-00000002"]
    monkeypatch.setattr(accelerate.Accelerator, "save_state", real)
    assert train(to_config(run))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_a_moved_run_goes_on(table, to_config, tmp_path, vae_folder):
    """On another disk, with what it uses; but not with something else in the place of that."""
    place = tmp_path / "a"
    shutil.copytree(vae_folder, place / "vae")
    table["model"]["vae"] = str(place / "vae")
    table["data"]["path"] = str(shutil.copytree(table["data"]["path"], place / "videos"))
    table["model"]["tokenizer"] = str(shutil.copytree(table["model"]["tokenizer"], place / "tokenizer"))
    assert train(to_config(with_output(table, place / "run", steps=4)))
    moved = place.rename(tmp_path / "b")
    table = json.loads(json.dumps(table).replace(str(place), str(moved)))
    assert train(to_config(with_output(table, moved / "run")))
    assert [line["step"] for line in losses(moved / "run")] == [1, 2, 3, 4, 5, 6]
    table["model"]["vae"] = str(vae_folder)
    with pytest.raises(InputError, match="holds a run with another model.vae;"):
        train(to_config(with_output(table, moved / "run")))


def test_what_is_averaged_goes_on_where_the_run_is(table, to_config, monkeypatch):
    """accelerate reads the averaged weights to the CPU; on a GPU the next step would fail."""
    from diffusers.training_utils import EMAModel

    assert train(to_config(with_output(table, table["run"]["output"], steps=2)))
    calls = []
    monkeypatch.setattr(
        EMAModel, "load_state_dict", lambda self, state, real=EMAModel.load_state_dict: (calls.append("read"), real(self, state))
    )
    monkeypatch.setattr(EMAModel, "to", lambda self, *device, real=EMAModel.to: (calls.append("moved"), real(self, *device)))
    assert train(to_config(with_output(table, table["run"]["output"], steps=4)))
    assert calls[-2:] == ["read", "moved"]


def test_tensorboard_shows_losses_and_pictures(table, to_config, videos):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    table["validation"] = {"cases": [{"seed": 1, "caption": "a square"}], "every": 3, "steps": 2}
    assert train(to_config(table))
    events = EventAccumulator(table["run"]["output"] + "/tensorboard").Reload()
    shown = [event.value for event in events.Scalars("loss")]
    assert shown == pytest.approx([line["loss"] for line in losses(table["run"]["output"])], rel=1e-6)
    assert [image.step for image in events.Images("validation")] == [3, 6]


def test_bad_clips_are_counted_once_without_a_cache(table, to_config, tmp_path, videos, caplog):
    shutil.copytree(videos, tmp_path / "videos")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video" * 50)
    table["data"]["path"] = str(tmp_path / "videos")
    with caplog.at_level("WARNING"):
        assert train(to_config(table))
    assert "1 clips could not be used and others took their place" in caplog.text
    assert len((Path(table["run"]["output"]) / "bad_clips.jsonl").read_text().splitlines()) == 1


def test_more_steps_go_on(table, to_config, tmp_path):
    assert train(to_config(with_output(table, tmp_path / "once", steps=8)))
    assert train(to_config(with_output(table, tmp_path / "twice", steps=5)))
    assert train(to_config(with_output(table, tmp_path / "twice", steps=8, log_every=1, keep=1)))
    assert losses(tmp_path / "once") == losses(tmp_path / "twice")
    assert same_files(tmp_path / "once", tmp_path / "twice")


def test_accumulation_is_a_larger_batch(table, to_config, tmp_path):
    """Two batches of two are one of four: each clip's noise belongs to its position."""
    table["optimizer"]["ema"] = 0.0
    assert train(to_config(with_output(table, tmp_path / "large", batch=4)))
    assert train(to_config(with_output(table, tmp_path / "small", batch=2, accumulation=2)))
    for one, other in zip(losses(tmp_path / "large"), losses(tmp_path / "small"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_gradient_checkpointing_learns_the_same(table, to_config, tmp_path):
    assert train(to_config(with_output(table, tmp_path / "plain")))
    table["model"]["gradient_checkpointing"] = True
    assert train(to_config(with_output(table, tmp_path / "again")))
    for one, other in zip(losses(tmp_path / "plain"), losses(tmp_path / "again"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_every_switch_changes_what_is_learnt(table, to_config, tmp_path):
    """Each option reaches the loss; the ablations among them."""
    table["optimizer"]["learning_rate"] = 1e-2
    changes = {
        "default": {},
        "direct": {"prediction": "direct"},
        "no_motion": {"motion": "none"},
        "text": {"text_dropout": 0.0},
        "offset": {"noise_offset": 0.3},
        "snr": {"min_snr_gamma": 5.0},
        "power": {"snr_power": 0.5},
        "high_noise": {"high_noise": 1.0},
    }
    last = {}
    for name, change in changes.items():
        assert train(to_config(with_output(table, tmp_path / name) | {"objective": change}))
        last[name] = losses(tmp_path / name)[-1]["loss"]
    assert len({round(loss, 5) for loss in last.values()}) == len(changes), last


def test_a_direct_network_is_refused_as_a_checkpoint(table, to_config):
    table["objective"] = {"prediction": "direct"}
    assert train(to_config(table))
    scheduler = json.loads((Path(table["run"]["output"]) / "export/scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] != "epsilon"


def test_validation_pictures(table, to_config, tmp_path, videos):
    Image.new("RGB", (50, 40), (200, 30, 30)).save(tmp_path / "red.png")
    case = {"image": str(tmp_path / "red.png"), "caption": "it moves", "bucket": 12}
    table["validation"] = {"every": 3, "steps": 2, "cases": [case, {"seed": 5}]}
    before = with_output(table | {"validation": {}}, tmp_path / "without")
    assert train(to_config(table))
    assert train(to_config(before))
    sheets = sorted((Path(table["run"]["output"]) / "validation").iterdir())
    assert [s.name for s in sheets] == ["step-00000003.png", "step-00000006.png"]
    sheet = Image.open(sheets[0])
    assert sheet.width == 4 * (32 + 4) + 4
    # looking changes nothing of the run
    assert losses(table["run"]["output"]) == losses(tmp_path / "without")


def test_a_frozen_encoder_and_a_start_from_an_export(table, to_config, tmp_path):
    """From a first run's checkpoint: the UNet continues where it was, the text encoder stays as it is."""
    assert train(to_config(table))
    first = Path(table["run"]["output"]) / "export"
    table["model"] |= {"start": str(first), "train_text_encoder": False}
    assert train(to_config(with_output(table, tmp_path / "second", steps=2)))
    assert (tmp_path / "second" / TEXT).read_bytes() == (first.parent / TEXT).read_bytes()
    before, after = load_file(first.parent / UNET), load_file(tmp_path / "second" / UNET)
    assert all(torch.equal(before[name], after[name]) for name in before) is False
    assert all(torch.allclose(before[name], after[name], atol=0.02) for name in before)


def test_an_export_between_the_start_and_what_was_trained(table, to_config, tmp_path):
    """WiSE-FT: of a finished run, which then has nothing left to do but the export."""
    table["optimizer"]["learning_rate"] = 0.01
    assert train(to_config(table))
    first = Path(table["run"]["output"])
    table["model"] |= {"start": str(first / "export")}
    after = with_output(table, tmp_path / "after")
    assert train(to_config(after))
    between = after | {"export": {"folder": str(tmp_path / "between" / "export"), "start_share": 0.25}}
    assert train(to_config(between))
    for part in (UNET, TEXT):
        old, new, mixed = (load_file(folder / part) for folder in (first, tmp_path / "after", tmp_path / "between"))
        assert any((old[name] - new[name]).abs().max() > 0.01 for name in old)
        torch.testing.assert_close(mixed, {name: new[name].lerp(old[name], 0.25) for name in old}, rtol=2e-3, atol=2e-4)


def test_lora(table, to_config, tmp_path, root):
    assert train(to_config(table))
    start_folder = Path(table["run"]["output"]) / "export"
    table["model"] |= {"start": str(start_folder), "train_text_encoder": False, "lora_rank": 2, "lora_alpha": 4.0}
    whole, parts = with_output(table, tmp_path / "whole"), with_output(table, tmp_path / "parts")
    assert train(to_config(whole))
    assert train(to_config(with_output(table, tmp_path / "parts", steps=3)))
    assert train(to_config(parts))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    files = [tmp_path / name / "export" / trainer.LORA_NAME for name in ("whole", "parts")]
    found, expected = (load_file(file) for file in files)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(tensor.any() for name, tensor in found.items() if "lora_up" in name)
    checkpoint = tmp_path / "whole" / "checkpoints" / "step-00000006" / "model.safetensors"
    assert set(load_file(checkpoint)) == {name for name in load_file(checkpoint) if "lora_" in name}


def test_a_checkpoint_does_not_hang_on_the_number_of_processes(root, table, tmp_path):
    """A LoRA trained by two processes is exported by one: the checkpoint holds the trained matrices alone, and none is lost."""
    assert main([str(write_toml(with_output(table, tmp_path / "base"), tmp_path / "base.toml"))]) == 0
    table["model"] |= {"start": str(tmp_path / "base" / "export"), "lora_rank": 2, "train_text_encoder": False}
    toml = write_toml(with_output(table, tmp_path / "lora", steps=2, batch=1), tmp_path / "lora.toml")
    assert start(root, toml, "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m").wait(120) == 0
    saved = load_file(next((tmp_path / "lora" / "checkpoints").glob("step-*")) / "model.safetensors")
    assert saved and all(name.startswith("unet.") and ".lora_" in name for name in saved)
    first = load_file(tmp_path / "lora" / "export" / "cinemo_lora.safetensors")
    assert main([str(toml), "--export"]) == 0
    again = load_file(tmp_path / "lora" / "export" / "cinemo_lora.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_two_processes_learn_what_one_does(root, table, tmp_path):
    """accelerate's data-parallel run on CPUs: half of the batch in each process, the same losses, the same weights."""
    table["optimizer"]["ema"] = 0.0
    table["data"]["cache"] = True
    table["run"]["steps"] = 4
    assert main([str(write_toml(with_output(table, tmp_path / "one", batch=4), tmp_path / "one.toml"))]) == 0
    toml = write_toml(with_output(table, tmp_path / "two", batch=2), tmp_path / "two.toml")
    process = start(root, toml, "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", "-m")
    _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    for name, tensor in load_file(tmp_path / "one" / UNET).items():
        assert torch.allclose(load_file(tmp_path / "two" / UNET)[name].float(), tensor.float(), atol=2e-3), name


def test_the_console_entry_is_this_command(root):
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    (target,) = re.findall(r'^cinemo-train = "(.+)"$', project, re.MULTILINE)
    module, name = target.split(":")
    assert module == main.__module__.removeprefix("cinemo_pack.") and name == main.__name__
    assert (root / Path(*module.split("."))).with_suffix(".py").is_file() and "[build-system]" in project


def test_mixed_precision_learns_about_the_same(table, to_config, tmp_path, fresh_engine, monkeypatch):
    monkeypatch.setattr(precision, "gains_by_bfloat16", lambda device: True)  # as slow as it may be here
    single, mixed = losses_in_both_precisions(table, to_config, tmp_path)
    assert single != mixed
    for one, other in zip(single, mixed, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.03)


def test_a_processor_without_bfloat16_trains_in_float32_and_says_so(table, to_config, tmp_path, fresh_engine, monkeypatch, caplog):
    monkeypatch.setattr(precision, "gains_by_bfloat16", lambda device: False)
    with caplog.at_level("INFO"):
        single, mixed = losses_in_both_precisions(table, to_config, tmp_path)
    assert single == mixed
    assert "no bfloat16 instructions; training in float32" in caplog.text


def losses_in_both_precisions(table, to_config, tmp_path) -> tuple[list[dict], list[dict]]:
    assert train(to_config(with_output(table, tmp_path / "single")))
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    assert train(to_config(with_output(table, tmp_path / "mixed", precision="bf16")))
    return losses(tmp_path / "single"), losses(tmp_path / "mixed")


def test_a_run_under_way_can_be_exported(table, to_config, tmp_path):
    """From its last checkpoint, as if it had ended there; the run continues as if nothing had happened."""
    assert train(to_config(with_output(table, tmp_path / "short", steps=4)))
    assert train(to_config(with_output(table, tmp_path / "long")))
    run = with_output(table, tmp_path / "run")
    toml = write_toml(run, tmp_path / "run.toml")
    assert main([str(toml), "--export"]) == 1
    assert train(to_config(with_output(run, tmp_path / "run", steps=4)))
    (tmp_path / "run" / "losses.jsonl").open("a").write('{"step": 5, "loss": 1.0, "learning_rate": 1.0}\n')
    partial = tmp_path / "run" / "checkpoints" / ".step-00000006.part"
    partial.mkdir()
    assert main([str(toml), "--export"]) == 0
    assert same_files(tmp_path / "run", tmp_path / "short")
    assert partial.is_dir() and len(losses(tmp_path / "run")) == 5
    assert main([str(toml)]) == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "long")
    assert main([str(toml)]) == 0  # finished: nothing left to do but the export
    assert same_files(tmp_path / "run", tmp_path / "long")
