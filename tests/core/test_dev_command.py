"""The command line of dev.py, and the server's port."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cinemo_pack.cinemo_core import included
from cinemo_pack.tools import demo, estimate, server
from cinemo_pack.tools.bench_sizes import CINEMO
from cinemo_pack.tools.console import DevError

dev = importlib.import_module("cinemo_pack.dev")


def test_demo_options_are_passed_on_with_whole_paths(monkeypatch):
    calls: list = []
    monkeypatch.setattr(dev, "prepare", lambda options: type("E", (), {"run_module": lambda self, *a: calls.append(a)})())
    options, rest = dev.parse(["demo", "--image", "a b.png", "--prompt=-x=1", "--motion-bucket", "0", "--width=64", "--cfg=0", "--fast"])
    options.function(options, rest)
    picture = f"--image={dev.Path.cwd() / 'a b.png'}"
    assert calls == [("tools.demo", picture, "--prompt=-x=1", "--motion-bucket=0", "--width=64", "--cfg=0.0", "--fast")]


@pytest.mark.parametrize(("bundle", "negative_bucket", "cfg"), [("cinemo-nano", 0, 1), ("Cinemo", -1, 7.5)])
def test_the_demo_samples_another_checkpoint_than_nano_as_the_authors_do(bundle, negative_bucket, cfg):
    demo.fill_in(workflow := api_workflow(), bundle, demo.Wishes())
    assert demo.find(workflow, "CinemoMotionConditioning")["negative_bucket"] == negative_bucket
    assert demo.find(workflow, "CinemoResidualKSampler")["cfg"] == cfg
    assert demo.find(workflow, "CinemoResidualKSampler")["sampler_name"] == "ddim"


def test_what_is_asked_for_goes_into_the_workflow():
    wishes = demo.Wishes("x", motion_bucket=0, width=256, height=128, frames=8, steps=4, cfg=0.0, fast=True)
    demo.fill_in(workflow := api_workflow(), "Cinemo", wishes)
    assert demo.settings_of(workflow) == estimate.Sampling(256, 128, 8, 4, 0.0)
    assert demo.caption_of(workflow) == '"x", motion bucket 0, seed 0, Cinemo'


def test_the_fast_setting_has_fewer_steps_of_another_sampler():
    demo.fill_in(workflow := api_workflow(), "Cinemo", demo.Wishes(fast=True))
    assert demo.settings_of(workflow) == estimate.Sampling(512, 320, 16, 16, 7.5)
    sampler = demo.find(workflow, "CinemoResidualKSampler")
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("dpmpp_2m", "cinemo_fast")


def test_detail_stands_between_the_frames_and_what_reads_them():
    demo.fill_in(workflow := api_workflow(), "Cinemo", demo.Wishes(detail=True))
    (detail,) = (node for node, entry in workflow.items() if entry["class_type"] == "CinemoDetailTransfer")
    transfer = workflow[detail]["inputs"]
    assert workflow[transfer["images"][0]]["class_type"] == "CinemoVideoDecode"
    assert workflow[transfer["picture"][0]]["class_type"] == "LoadImage"
    assert transfer["fit"] == demo.find(workflow, "CinemoMotionConditioning")["resize"]
    for reader in ("CreateVideo", "SaveImage"):
        assert demo.find(workflow, reader)["images"] == [detail, 0]


def api_workflow() -> dict:
    return json.loads(demo.WORKFLOW.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        *((f"--motion-bucket={text}", f"{text} is not a motion bucket; expected 0 to 19") for text in ("-1", "20", "1.5", "many", "²")),
        ("--width=100", "100 is not a side of a clip in pixels; expected 16 to 8192, a multiple of 8"),
        ("--height=8", "8 is not a side of a clip in pixels; expected 16 to 8192, a multiple of 8"),
        ("--frames=1", "1 is not a number of frames; expected 2 to 1024"),
        ("--steps=0", "0 is not a number of steps; expected 1 to 1000"),
        *((f"--cfg={text}", f"{text} is not a strength of guidance; expected 0 to 100, 1 for none") for text in ("-1", "nan", "inf", "a")),
    ],
)
def test_a_number_out_of_range_is_refused(argument, sentence, capsys):
    with pytest.raises(SystemExit):
        dev.parse(["demo", argument])
    assert sentence in capsys.readouterr().err


def test_a_samplers_bar_stands_at_0_from_the_start_and_counts_steps(capsys):
    """Whatever parts of a step it reports; a node without steps has its own count."""
    bar = demo.ProgressBar({"7": {"class_type": "Sampler", "inputs": {"steps": 50}}, "8": {"class_type": "Decode", "inputs": {}}})
    bar.start("7")
    assert "Sampler:   0%|" in (shown := capsys.readouterr().err)
    assert "0/50 [00:00" in shown
    bar.bar.mininterval = 0
    for value, count in ((1, "0.5/50"), (2, "1/50"), (100, "50/50")):
        bar.update(demo.Progress("7", "Sampler", value, 100))
        assert f"{count} [00:00" in capsys.readouterr().err
    bar.start("8")
    assert "Decode" not in capsys.readouterr().err
    bar.update(demo.Progress("8", "Decode", 14, 16))
    assert (bar.bar.n, bar.bar.total) == (14, 16)
    bar.close()
    bar.close()


def test_arithmetic_grows_with_the_clip():
    """The published network does 8.1e12 multiplications and additions on a clip as it was trained on."""
    whole, half = (estimate.operations(CINEMO, estimate.Sampling(512, 320, frames, 50, 7.5)) for frames in (16, 8))
    assert whole == pytest.approx(8.1e12, rel=0.05)
    assert half == pytest.approx(whole / 2, rel=0.02)


def test_a_long_run_is_reported_beforehand():
    settings = estimate.Sampling(512, 320, 16, 50, 7.5)
    sentence = "* sampling takes about 1 h 20 min on this processor, an estimate; --fast takes about 27 min; Ctrl-C ends it"
    assert demo.forecast(CINEMO, settings, 2.3e11, fast=False) == sentence
    quarter = replace(settings, steps=16, cfg=1.0)  # half the evaluations a step
    sentence = "* sampling takes about 13 min on this processor, an estimate; Ctrl-C ends it"
    assert demo.forecast(CINEMO, quarter, 2.3e11, fast=True) == sentence


def test_nothing_is_said_of_a_short_run():
    config = demo.config_of(included.FOLDER)
    assert demo.forecast(config, estimate.Sampling(64, 64, 16, 50, 1.4), 2.3e11, fast=False) is None


def test_a_processor_has_a_speed():
    assert estimate.processor_speed() > 1e6


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "10 s"), (44, "40 s"), (61, "1 min"), (3540, "59 min"), (3599, "1 h 0 min"), (7199, "2 h 0 min"), (6000, "1 h 40 min")],
)
def test_durations_are_rough(seconds, words):
    assert estimate.in_words(seconds) == words


def test_a_folder_without_a_unet_is_one_sentence(tmp_path):
    with pytest.raises(DevError, match="has no unet/ folder"):
        demo.config_of(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize(("handler", "end"), [(signal.SIG_IGN, signal.SIGTERM), (signal.default_int_handler, signal.SIGINT)])
def test_what_was_started_in_the_background_ends_too(tmp_path, handler, end):
    """A background job of a shell ignores SIGINT, and so does all that it starts: it is not left to the last resort, SIGKILL."""
    previous = signal.signal(signal.SIGINT, handler)
    try:
        started = server.Server(tmp_path, tmp_path)
        command = [sys.executable, "-c", "import sys; print('runs', flush=True); sys.stdin.read()"]
        started.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert started.process.stdout.readline() == b"runs\n"
        started.stop()
    finally:
        signal.signal(signal.SIGINT, previous)
    started.process.communicate()
    assert started.process.returncode == -end


@pytest.mark.parametrize(
    "arguments",
    [
        ["test", "-x", "-k", "a or b", "tests/core"],
        ["py", "-m", "mod", "--help", "-h"],
        ["bench", "--device", "cuda"],
        ["parity", "a", "b"],
        ["evaluate", "--checkpoint", "a", "--seeds", "2"],
    ],
)
def test_other_arguments_are_passed_on_in_order(arguments):
    assert dev.parse(arguments)[1] == arguments[1:]


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["-m", "cinemo_core.training", "a.toml"], True),
        (["-m", "accelerate.commands.launch", "-m", "cinemo_core.evaluation"], True),
        (["-m", "cinemo_core.convert", "a", "b"], False),
    ],
)
def test_training_and_evaluation_get_their_packages(monkeypatch, arguments, extra):
    asked = []
    environment = SimpleNamespace(run_module=lambda *_: 0)
    monkeypatch.setattr(dev, "prepare", lambda options, packages=(): asked.append(bool(packages)) or environment)
    dev.py(None, arguments)
    assert asked == [extra]


def test_tier_and_install_are_ours():
    options, rest = dev.parse(["--install", "test", "--tier", "unit", "--durations=3"])
    assert (options.install, options.tier, rest) == (True, ["unit"], ["--durations=3"])


def test_commands_without_passing_on_refuse_unknown_arguments(capsys):
    with pytest.raises(SystemExit):
        dev.parse(["serve", "--prot", "1"])
    assert "unrecognized arguments: --prot 1" in capsys.readouterr().err


def test_a_bad_comfyui_path_is_one_sentence(root, tmp_path):
    done = subprocess.run(
        [sys.executable, root / "dev.py", "demo"], capture_output=True, text=True, env={"COMFYUI_PATH": str(tmp_path)}, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: COMFYUI_PATH is {tmp_path}, which holds no ComfyUI; give the folder with its main.py, or unset it for the pinned one.\n"
    )


def test_an_occupied_port_is_one_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DevError, match=rf"Port {other.getsockname()[1]} cannot be used \(.*\); choose another with --port"):
            server.check_port(other.getsockname()[1])


def test_a_port_number_too_large_is_one_sentence():
    with pytest.raises(DevError, match="Port 70000 cannot be used"):
        server.check_port(70000)


def test_links_are_renewed_and_removed_without_touching_what_they_lead_to(tmp_path):
    names = ("one & two", "100%PATH% ^3!")  # what a shell would read as its own
    one, two = (tmp_path / name for name in names)
    for folder in (one, two):
        folder.mkdir()
        (folder / "file").touch()
    place = tmp_path / "deep (& more)" / "link"
    for target in (one, one, two):
        server.link(place, target)
        assert place.samefile(target)
    server.unlink(place)
    server.unlink(place)
    assert not place.exists()
    assert (one / "file").exists()
    assert (two / "file").exists()
