"""The claims on a whole checkpoint, with the tokenizer that ComfyUI carries."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.evaluation.claims.__main__ import main
from cinemo_pack.cinemo_core.evaluation.claims.animate import Task, load_animator, with_unet
from cinemo_pack.cinemo_core.evaluation.claims.claims import INITIAL_NOISES
from cinemo_pack.cinemo_core.files.folder import read_bundle
from cinemo_pack.cinemo_core.training.export import PREDICTION_TYPES
from cinemo_pack.cinemo_core.training.nano.procedural import render_stills

SIZE = 32


def test_a_clip_depends_on_its_task_alone(drawn):
    animator = load_animator(drawn, torch.device("cpu"), steps=2, cfg=2.0)
    images = [render_stills(seed, SIZE, SIZE, 1)[0].permute(1, 2, 0).numpy() for seed in range(3)]
    tasks = [Task(image, "a cat", 3 * i, i, noise) for i, (image, noise) in enumerate(zip(images, INITIAL_NOISES, strict=True))]
    together = list(animator.animate(tasks))
    for task, clip in zip(tasks, together, strict=True):
        assert clip.shape == (16, SIZE, SIZE, 3)
        (alone,) = animator.animate([task])
        assert np.abs(alone.astype(int) - clip.astype(int)).max() <= 1  # rounding
    for change in ({"bucket": 19}, {"caption": "a dog"}, {"seed": 9}, {"initial_noise": "none"}):
        (changed,) = animator.animate([replace(tasks[0], **change)])
        assert not np.array_equal(changed, together[0]), change
    (changed,) = replace(animator, negative_bucket=15).animate(tasks[:1])
    assert not np.array_equal(changed, together[0])


def test_the_command_reports_what_is_missing(tmp_path, capsys):
    assert main(["--checkpoint", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert main(["--checkpoint", str(tmp_path), "--output", str(tmp_path / "out"), "--size", "50"]) == 1
    assert "--size is 50; choose a multiple of 8" in capsys.readouterr().err


@pytest.fixture
def ablation(drawn, tmp_path):
    """The same weights twice, once said to denoise the frames themselves; the former as a UNet alone."""
    folder = tmp_path / "ablation"
    shutil.copytree(drawn, folder / "direct")
    for part in ("unet", "scheduler"):
        shutil.copytree(drawn / part, folder / "residual" / part)
    say_trained_for(folder / "direct", PREDICTION_TYPES["direct"])
    return folder


def say_trained_for(checkpoint, prediction_type):
    scheduler = checkpoint / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": prediction_type}))


def test_residual_and_direct_are_distinguished_by_what_the_export_says(drawn, ablation, tmp_path, capsys):
    images = [render_stills(0, SIZE, SIZE, 1)[0].permute(1, 2, 0).numpy()]
    residual, other = (load_animator(folder, torch.device("cpu"), steps=2, cfg=2.0) for folder in (drawn, ablation / "direct"))
    assert (residual.prediction, other.prediction) == ("residual", "direct")
    first, second = (next(animator.animate([Task(images[0], "a cat", 9, 0)])) for animator in (residual, other))
    assert not np.array_equal(first, second)

    def error(checkpoint):
        assert main(["--checkpoint", str(checkpoint), "--ablation", str(ablation), "--output", str(tmp_path / "out")]) == 1
        return capsys.readouterr().err

    direct = ablation / "direct"
    assert f"{direct} was trained with direct prediction; here one of residual prediction is needed." in error(direct)
    say_trained_for(direct, PREDICTION_TYPES["residual"])
    assert f"{direct} was trained with residual prediction; here one of direct" in error(drawn)
    say_trained_for(direct, "v_prediction")
    assert "has prediction_type 'v_prediction'; a Cinemo is trained for 'epsilon' or" in error(drawn)


def test_a_unet_alone_is_animated_by_the_parts_it_is_put_between(drawn, ablation):
    whole = load_animator(drawn, torch.device("cpu"), steps=2, cfg=2.0)
    task = Task(render_stills(0, SIZE, SIZE, 1)[0].permute(1, 2, 0).numpy(), "a cat", 9, 0)
    alone = with_unet(replace(whole, unet=None), read_bundle(ablation / "residual"))
    found, expected = (next(animator.animate([task])).astype(int) for animator in (alone, whole))
    assert np.abs(found - expected).max() <= 1  # rounding


def test_the_command_measures_a_checkpoint_and_says_what_is_missed(drawn, ablation, tmp_path, capsys):
    arguments = ["--checkpoint", str(drawn), "--ablation", str(ablation)]
    assert main([*arguments, "--output", str(tmp_path), "--size", "32", "--seeds", "2", "--steps", "1"]) == 1  # its weights are random
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("verdict: missed: ")
    numbers = json.loads((tmp_path / "claims.json").read_text())
    assert len(numbers["rows"]) == 7 and numbers["settings"]["seeds"] == 2
    assert (tmp_path / "claims.png").is_file() and "| claim of the paper |" in (tmp_path / "claims.md").read_text()
