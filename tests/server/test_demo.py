"""`dev.py demo` and `dev.py serve` as a person runs them: results, one-sentence errors, and no file left over."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from cinemo_pack.tools.server import STOP_SECONDS
from PIL import Image


def dev(root: Path, *arguments: str | Path, shell: tuple[str, ...] = ()) -> subprocess.Popen:
    """Start dev.py in a process group of its own, as a shell does; `shell` goes before the command."""
    command = [*shell, sys.executable, "-u", str(root / "dev.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def wait_for(process: subprocess.Popen, text: str) -> list[psutil.Process]:
    """Read the output until a line holds the text; gives the processes that have been started by then."""
    for line in process.stdout:
        if text in line:
            return psutil.Process(process.pid).children(recursive=True)
    raise AssertionError(f"{process.args} ended with {process.wait()} before it said {text!r}")


def test_the_demo_makes_a_video_and_a_contact_sheet(root, tmp_path):
    image = tmp_path / "black and white.png"
    Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 40).save(image)  # anything with edges: on a plain picture little moves
    wishes = ["--prompt", "the camera pans left", "--motion-bucket", "19", "--steps", "8"]
    process = dev(root, "demo", "--image", image, *wishes, "--output", tmp_path / "out")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert '"the camera pans left", motion bucket 19' in output
    assert "192x192, 16 frames, 8 steps, cfg 1" in output
    assert output.index("0/8 [00:00") < output.index("8/8 ["), "the bar is there before the first step is done"
    video, sheet = (Path(found) for found in re.findall(r"^(?:video|contact sheet): +(.*)$", output, re.MULTILINE))

    with av.open(video) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 8
    assert len(frames) == 16
    assert frames[0].shape == (192, 192, 3)
    assert all(abs(frame - frames[0]).mean() > 1 for frame in frames[1:]), "a frame repeats the first"
    with Image.open(sheet) as picture:
        assert picture.width > 4 * 128
        assert picture.height > 4 * 128
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cinemo-001.mp4", "cinemo-001.png", "comfyui.log"]


def test_with_detail_the_clip_is_as_large_as_the_picture(root, tmp_path):
    Image.effect_mandelbrot((320, 256), (-2, -1, 1, 1), 40).save(image := tmp_path / "a.png")
    process = dev(root, "demo", "--image", image, "--detail", "--frames", "4", "--steps", "2", "--output", tmp_path / "out")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (video,) = (tmp_path / "out").glob("*.mp4")
    with av.open(video) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(256, 256, 3)] * 4
    with Image.open(image) as picture:  # the middle of it, as the clip's aspect is a square's
        middle = np.asarray(picture.convert("RGB").crop((32, 0, 288, 256)), float)
    assert abs(frames[0] - middle).mean() < 3, "frame 0 is the picture, but for the video's compression"


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize(
    "kill", [lambda pid: os.killpg(pid, signal.SIGINT), lambda pid: os.kill(pid, signal.SIGTERM)], ids=["ctrl-c", "kill"]
)
def test_a_stopped_demo_leaves_nothing_behind(root, tmp_path, kill):
    before = set(Path(tempfile.gettempdir()).glob("cinemo-demo-*"))
    process = dev(root, "demo", "--output", tmp_path)
    started = wait_for(process, "* animating")
    assert len(started) == 2, "the demo and ComfyUI"
    kill(process.pid)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert not any(child.is_running() for child in started)
    assert set(Path(tempfile.gettempdir()).glob("cinemo-demo-*")) <= before
    assert [path.name for path in tmp_path.iterdir()] == ["comfyui.log"]


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_a_demo_in_the_background_is_stopped_without_the_last_resort(root, tmp_path):
    """Such a job ignores SIGINT from its start, and so does the ComfyUI that it starts."""
    process = dev(root, "demo", "--output", tmp_path, shell=("sh", "-c", "trap '' INT; exec \"$@\"", "sh"))
    started = wait_for(process, "* animating")
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert not any(child.is_running() for child in started)
    assert time.monotonic() - begin < STOP_SECONDS, "ComfyUI did not end by itself"


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_file_that_is_no_picture_is_one_sentence(root, tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    output, _ = (process := dev(root, "demo", "--image", tmp_path / "a.png", "--output", tmp_path)).communicate()
    assert process.returncode == 1
    assert re.fullmatch(r"error: \S*a\.png is not a picture that can be read \(.*\); give a PNG, JPEG or WebP file\.\n", output)


def test_a_folder_that_is_no_checkpoint_is_one_sentence(root, tmp_path):
    (tmp_path / "empty").mkdir()
    output, _ = (process := dev(root, "demo", "--checkpoint", tmp_path / "empty", "--output", tmp_path)).communicate()
    assert process.returncode == 1
    assert re.fullmatch(r"error: \S*empty has no unet/ folder; put the checkpoint there .*\n", output), "said before ComfyUI starts"


def test_serving_on_an_occupied_port_is_one_sentence(root):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        output, _ = (process := dev(root, "serve", "--port", str(other.getsockname()[1]))).communicate()
    assert process.returncode == 1
    assert re.fullmatch(r"error: Port \d+ cannot be used \(.*\); choose another with --port, or stop the program that has it\.\n", output)


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_serve_runs_until_ctrl_c(root):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = dev(root, "serve", "--port", str(port))
    started = wait_for(process, f"* ready at http://127.0.0.1:{port}")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert not any(child.is_running() for child in started)
