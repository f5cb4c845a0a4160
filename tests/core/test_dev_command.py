"""The command line of dev.py, and the server's port."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cinemo_pack.tools import demo, server
from cinemo_pack.tools.console import DevError

dev = importlib.import_module("cinemo_pack.dev")


def test_demo_options_are_passed_on_with_whole_paths(monkeypatch):
    calls: list = []
    monkeypatch.setattr(dev, "prepare", lambda options: type("E", (), {"run_module": lambda self, *a: calls.append(a)})())
    options, rest = dev.parse(["demo", "--image", "a b.png", "--prompt=-x=1", "--motion-bucket", "0"])
    options.function(options, rest)
    assert calls == [("tools.demo", f"--image={dev.Path.cwd() / 'a b.png'}", "--prompt=-x=1", "--motion-bucket=0")]


@pytest.mark.parametrize(("bundle", "negative_bucket", "cfg"), [("cinemo-nano", 0, 1.4), ("Cinemo", -1, 7.5)])
def test_the_demo_samples_another_checkpoint_than_nano_as_the_authors_do(bundle, negative_bucket, cfg):
    workflow = json.loads(demo.WORKFLOW.read_text(encoding="utf-8"))
    demo.fill_in(workflow, bundle, (512, 320), None, None)
    assert demo.find(workflow, "CinemoMotionConditioning")["negative_bucket"] == negative_bucket
    assert demo.find(workflow, "CinemoResidualKSampler")["cfg"] == cfg


@pytest.mark.parametrize("bucket", ["-1", "20", "1.5", "many"])
def test_a_bucket_out_of_range_is_refused(bucket, capsys):
    with pytest.raises(SystemExit):
        dev.parse(["demo", f"--motion-bucket={bucket}"])
    assert f"{bucket} is not a motion bucket; expected 0 (least motion) to 19 (most)" in capsys.readouterr().err


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
