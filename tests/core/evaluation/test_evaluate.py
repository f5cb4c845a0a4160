"""Whole evaluations on folders of small clips, against numpy from the pixels to the number."""

import json
import os
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.linalg
import torch
from cinemo_pack.cinemo_core.evaluation import __main__ as command
from cinemo_pack.cinemo_core.evaluation.clips import ClipReader, find_clips, shuffled
from cinemo_pack.cinemo_core.evaluation.embeddings import TextSimilarity
from cinemo_pack.cinemo_core.evaluation.features import I3D, Inception
from cinemo_pack.cinemo_core.evaluation.measure import Networks, measure
from PIL import Image

from .conftest import LETTERS, SIZE, random_clips, write_frames, write_video

GENERATED, REAL = 13, 11


@pytest.fixture(scope="module")
def generated() -> dict[str, np.ndarray]:
    return random_clips(1, GENERATED)


@pytest.fixture(scope="module")
def real() -> dict[str, np.ndarray]:
    return {f"real_{name}": clip for name, clip in random_clips(2, REAL, brightness=0.8).items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, generated, real):
    base = tmp_path_factory.mktemp("clips")
    return write_frames(base / "generated", generated), write_frames(base / "real", real)


@pytest.fixture
def run(folders, networks, tmp_path, capsys):
    """Runs the command on the two folders; gives the report and what was printed."""

    def run(*arguments, expected=0, weights=("i3d", "c3d", "inception", "dreamsim")):
        report = tmp_path / "report.json"
        base = [
            "--generated",
            folders[0],
            "--real",
            folders[1],
            "--frames",
            4,
            "--width",
            SIZE,
            "--height",
            SIZE,
            "--output",
            report,
            "--cpu",
        ]
        paths = [part for name in weights for part in (f"--{name}", networks[name])]
        assert command.main([str(part) for part in (*base, *paths, *arguments)]) == expected
        printed = capsys.readouterr()
        return (json.loads(report.read_text()) if expected == 0 else None), (printed.out if expected == 0 else printed.err)

    return run


def launch(root, processes, *arguments):
    """The command on several processes, as torchrun starts them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m", "cinemo_core.evaluation"]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(list(map(str, (*command, *arguments))), env=environment, capture_output=True, text=True, timeout=180, check=False)


def cells(pixels: np.ndarray, *axes: int) -> np.ndarray:
    """Mean over halves of the given axes, channels first, in a row."""
    values = pixels / 127.5 - 1
    for axis in axes:
        halves = np.split(values, 2, axis=axis)
        values = np.concatenate([half.mean(axis, keepdims=True) for half in halves], axis=axis)
    return np.moveaxis(values, -1, 0).ravel()


def mixed(module, values: np.ndarray) -> np.ndarray:
    return module.mix.weight.double().numpy() @ values + module.mix.bias.double().numpy()


class Oracle:
    """Features of clips and the metrics over them, in numpy."""

    def __init__(self, modules, clips):
        self.i3d = np.array([np.tanh(mixed(modules["i3d"], cells(clip, 0, 1, 2))) for clip in clips.values()])
        logits = np.array([9 * mixed(modules["c3d"], cells(clip, 0, 1, 2)) for clip in clips.values()])
        self.c3d = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        self.inception = np.array([np.tanh(mixed(modules["inception"], cells(frame, 0, 1))) for clip in clips.values() for frame in clip])


def frechet(x, y):
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * scipy.linalg.sqrtm(first @ second).real)


def mmd(x, y):
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def off_diagonal(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    return off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()


def test_every_metric_of_features_equals_the_oracle(run, modules, generated, real):
    report, _ = run("--metrics", "fvd", "kvd", "is", "fid", "--splits", 1)
    a, b = Oracle(modules, generated), Oracle(modules, real)
    values = {metric: value["value"] for metric, value in report["metrics"].items()}
    score = np.exp((a.c3d * np.log(a.c3d / a.c3d.mean(0))).sum(1).mean())
    assert score > 1.2
    expected = {"fvd": frechet(a.i3d, b.i3d), "kvd": mmd(a.i3d, b.i3d), "is": score, "fid": frechet(a.inception, b.inception)}
    assert values == pytest.approx(expected, rel=1e-4, abs=1e-6)  # the networks ran in float32


def test_splits_of_the_inception_score_follow_the_shuffled_order(run, modules, generated, folders):
    report, printed = run("--metrics", "is", "--splits", 3, "--seed", 5)
    order = [clip.name for clip in shuffled(find_clips(folders[0]), 5)]
    p = dict(zip(generated, Oracle(modules, generated).c3d, strict=True))
    rows = np.array([p[name] for name in order])
    scores = [np.exp((part * np.log(part / part.mean(0))).sum(1).mean()) for part in (rows[:4], rows[4:8], rows[8:])]
    assert report["metrics"]["is"] == pytest.approx({"value": np.mean(scores), "deviation": np.std(scores)}, rel=1e-4)
    assert re.search(r"IS, higher is better +\d+\.\d{4} \+- \d", printed)


def test_input_conformity_with_and_without_input_images(run, modules, generated, tmp_path):
    def embed(picture):
        square = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC))
        return mixed(modules["dreamsim"], (cells(square, 0, 1) + 1) / 2)

    def conformity(images):
        cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in map(embed, generated[n])] for n, a in images.items()]
        return np.mean(cosines)

    report, _ = run("--metrics", "pic")
    assert report["metrics"]["pic"]["value"] == pytest.approx(conformity({n: embed(clip[0]) for n, clip in generated.items()}), abs=1e-6)
    assert "PIC took the first frame of each clip for its input image" in report["differs_from_the_paper"]
    images = {name: clip[0] for name, clip in random_clips(3, GENERATED).items()}
    (tmp_path / "images").mkdir()
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
    report, _ = run("--metrics", "pic", "--images", tmp_path / "images")
    assert report["metrics"]["pic"]["value"] == pytest.approx(conformity({n: embed(image) for n, image in images.items()}), abs=1e-6)


def test_each_clip_meets_its_own_caption(run, generated, clip_folder, tmp_path):
    """CLIPSIM together with FVD, as the protocol of MSR-VTT has it: captions are for generated clips only."""
    captions = {name: LETTERS[i : i + 4] for i, name in enumerate(generated)}
    rows = [f"{name}.mp4,{caption}" for name, caption in captions.items()]
    (tmp_path / "captions.csv").write_text("\n".join(["video,caption", *rows]))
    report, _ = run("--protocol", "msrvtt", "--captions", tmp_path / "captions.csv", "--clip", clip_folder)
    similarity = TextSimilarity(clip_folder, torch.device("cpu"))
    expected = np.mean([similarity(generated[name], caption) for name, caption in captions.items()])
    assert list(report["metrics"]) == ["fvd", "clipsim"]
    assert report["metrics"]["clipsim"]["value"] == pytest.approx(expected, abs=1e-9)


def test_batches_and_workers_change_nothing(run):
    one, _ = run("--metrics", "fvd", "kvd", "is", "fid", "--splits", 2)
    for options in (("--batch-size", 1), ("--batch-size", 5, "--workers", 1)):
        other, _ = run("--metrics", "fvd", "kvd", "is", "fid", "--splits", 2, *options)
        for metric, value in one["metrics"].items():
            assert other["metrics"][metric] == pytest.approx(value, rel=1e-4, abs=1e-6)


class TestReport:
    def test_header(self, run, folders):
        report, printed = run("--protocol", "ucf101", "--metrics", "fvd", "kvd", "--clips", 9, "--real-start", "first")
        assert report["clips"]["generated"]["clips"] == report["clips"]["real"]["clips"] == 9
        for line in (
            r"^protocol +ucf101: UCF-101, 2,048 random videos, 16 frames$",
            r"^frames +4 of 16x16 pixels \(cover\)$",
            r"^windows +of real clips: first start, stride 1$",
            r"^generated +9 clips$",
            r"^i3d +/.*i3d.pt$",
            r"^differs +9 generated clips instead of 2,048$",
            r"^ +4 frames instead of 16$",
            r"^ +the paper gives no KVD here$",
            r"^ +the network i3d gives 6 numbers, the published one 400$",
            r"^FVD, lower is better +\d+\.\d{4}$",
        ):
            assert re.search(line, printed, re.MULTILINE), line
        assert report["settings"]["generated"] == str(folders[0]) and report["settings"]["metrics"] == ["fvd", "kvd"]
        assert len(report["differs_from_the_paper"]) == 6
        report, _ = run("--metrics", "fvd", "--clips", 6)
        assert "6 clips are too few for the 6 features of FVD; its value is biased" in report["differs_from_the_paper"]

    def test_the_protocol_chooses_the_metrics(self, run):
        _, error = run("--protocol", "msrvtt", expected=1)
        assert error == "evaluation: CLIPSIM compares clips with their captions; give a CSV or JSONL file of them with --captions.\n"
        report, _ = run("--protocol", "ucf101", "--splits", 2)
        assert list(report["metrics"]) == ["fvd", "is", "fid"]


class TestBadClips:
    def test_are_counted_named_and_replaced(self, tmp_path, networks, capsys):
        clips = random_clips(4, 9)
        folder = write_frames(tmp_path / "generated", clips)
        write_video(folder / "short.mkv", clips["clip_0"][:2])
        for name in ("broken_a", "broken_b"):
            (folder / f"{name}.mp4").write_bytes(b"no video" * 50)
        report = tmp_path / "report.json"
        options = [
            "--generated",
            folder,
            "--metrics",
            "is",
            "--splits",
            2,
            "--c3d",
            networks["c3d"],
            "--frames",
            4,
            "--width",
            16,
            "--height",
            16,
        ]
        assert command.main([*map(str, options), "--clips", "8", "--output", str(report), "--cpu"]) == 0
        found = json.loads(report.read_text())["clips"]["generated"]
        assert found["clips"] == 8
        assert command.main([*map(str, options), "--output", str(report), "--cpu"]) == 0
        found = json.loads(report.read_text())["clips"]["generated"]
        assert found["clips"] == 9 and {bad["name"] for bad in found["unusable"]} == {"short", "broken_a", "broken_b"}
        printed = capsys.readouterr().out
        assert "generated   9 clips, 3 could not be used" in printed and "short has 2 frames, 4 are needed" in printed

    def test_none_that_can_be_read(self, tmp_path, networks, capsys):
        (tmp_path / "x.mp4").write_bytes(b"no video")
        arguments = ["--generated", str(tmp_path), "--metrics", "is", "--splits", "1", "--c3d", str(networks["c3d"]), "--cpu"]
        assert command.main(arguments) == 1
        assert "evaluation: None of the 1 generated clips can be used; x cannot be read (" in capsys.readouterr().err

    def test_a_metric_with_too_few_left_does_not_take_the_others_along(self, tmp_path, networks, capsys):
        folder = write_frames(tmp_path / "generated", random_clips(4, 2))
        for name in ("broken_a", "broken_b"):
            (folder / f"{name}.mp4").write_bytes(b"no video" * 50)
        report = tmp_path / "report.json"
        options = ["--generated", folder, "--metrics", "is", "pic", "--splits", 3, "--frames", 4, "--width", 16, "--height", 16, "--cpu"]
        paths = ["--c3d", networks["c3d"], "--dreamsim", networks["dreamsim"], "--output", report]
        assert command.main([*map(str, (*options, *paths))]) == 1
        found = json.loads(report.read_text())
        assert list(found["metrics"]) == ["pic"] and list(found["failed"]) == ["is"]
        assert re.search(
            r"^IS, higher is better +not measured: The inception score needs .* 2 clips for 3 splits", capsys.readouterr().out, re.MULTILINE
        )


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--clips", 0), r"--clips is 0; choose a whole number of at least 1\."),
            (("--metrics", "is", "--splits", 14), r"there are 13 clips for 14 splits"),
            (("--metrics", "is", "--clips", 3), r"there are 3 clips for 10 splits"),
            (("--metrics", "fvd", "--real", "/absent"), r"/absent is not a folder, or cannot be reached; give one with videos"),
            (("--metrics", "fvd", "--output", "/absent/x.json"), r"/absent is not a folder; create it first"),
            (
                ("--metrics", "clipsim", "--captions", "/absent.csv"),
                r"CLIPSIM needs CLIP ViT-B/32 .*: give it with --clip \(clip-vit-base-patch32,",
            ),
        ],
    )
    def test_is_one_sentence_and_nothing_is_measured(self, run, arguments, message):
        _, error = run(*arguments, expected=1)
        assert re.search(message, error) and error.startswith("evaluation: ") and error.count("\n") == 1

    def test_one_clip_is_too_few_to_compare(self, run, tmp_path):
        one = write_frames(tmp_path / "one", random_clips(6, 1))
        _, error = run("--metrics", "kvd", "--real", one, expected=1)
        assert error == f"evaluation: For KVD there must be two clips on each side, here are {GENERATED} and 1; take more.\n"
        _, error = run("--metrics", "kvd", "fvd", "--clips", 1, expected=1)
        assert error == "evaluation: For FVD, KVD there must be two clips on each side, here are 1 and 1; take more.\n"

    def test_a_network_for_other_numbers_of_frames(self, run, tmp_path, networks):
        """The published C3D takes 16 frames and no other number."""

        class Sixteen(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.softmax(x.float().mean((1, 3, 4)).view(-1, 16), 1)

        torch.jit.script(Sixteen()).save(str(tmp_path / "c3d.pt"))
        _, error = run("--metrics", "is", "--c3d", tmp_path / "c3d.pt", "--frames", 5, expected=1)
        assert "it fails on [1, 3, 5, 16, 16]" in error and "Or it takes no clips of 5 frames: the published ones" in error

    def test_metrics_against_real_clips_need_them(self, folders, capsys):
        assert command.main(["--generated", str(folders[0]), "--metrics", "fvd", "pic", "kvd"]) == 1
        assert "FVD, KVD compare generated with real clips; give the folder of the real ones with --real." in capsys.readouterr().err


def test_memory_does_not_grow_with_clips(tmp_path, networks):
    """Pixels of 40 clips are 16 times those of the batch that is held."""
    reader = ClipReader(4, 64, 64, "cover")
    size = {"device": torch.device("cpu"), "frames": 4, "width": 64, "height": 64}
    loaded = Networks(i3d=I3D(networks["i3d"], **size), inception=Inception(networks["inception"], **size))
    clips = find_clips(write_frames(tmp_path, {name: clip.repeat(4, 1).repeat(4, 2) for name, clip in random_clips(5, 40).items()}))

    def peak(count):
        tracemalloc.start()
        try:
            assert len(measure(clips, count, loaded, reader, batch_size=2, workers=0, label="test").names) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # imports
    assert peak(40) < peak(4) + 4 * 64 * 64 * 3 * 2


def test_the_number_of_processes_changes_nothing(run, root, folders, networks, tmp_path):
    """Three processes, for whom the batches do not come out even, against this one."""
    (folders[0] / "broken.mp4").write_bytes(b"no video" * 50)
    options = ["--metrics", "fvd", "kvd", "is", "fid", "pic", "--splits", "2", "--batch-size", "2", "--clips", "12"]
    alone, _ = run(*options)
    output = tmp_path / "many.json"
    arguments = [*options, "--generated", folders[0], "--real", folders[1], "--output", output, "--frames", "4"]
    arguments += ["--width", str(SIZE), "--height", str(SIZE), *(part for name in networks for part in (f"--{name}", networks[name]))]
    done = launch(root, 3, *arguments, "--cpu")
    (folders[0] / "broken.mp4").unlink()
    assert done.returncode == 0, done.stderr
    many = json.loads(output.read_text())
    assert many["clips"] == alone["clips"] and many["clips"]["generated"]["clips"] == 12
    for metric, value in alone["metrics"].items():
        assert many["metrics"][metric] == pytest.approx(value, rel=1e-10)
    assert done.stdout.count("FVD, lower is better") == 1


def test_an_error_in_any_process_is_reported(root, folders, networks, tmp_path):
    """The damage shows only when the picture is decoded, which is the second process's work."""
    images = tmp_path / "images"
    images.mkdir()
    order = [clip.name for clip in shuffled(find_clips(folders[0]), 0)]
    for name in order:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(images / f"{name}.jpg")
    damaged = images / f"{order[2]}.jpg"
    damaged.write_bytes(damaged.read_bytes()[:900])
    arguments = ["--generated", folders[0], "--metrics", "pic", "--dreamsim", networks["dreamsim"], "--images", images]
    done = launch(root, 2, *arguments, "--batch-size", "2", "--frames", "4", "--cpu")
    assert done.returncode and done.stderr.count(f"evaluation: The input image {damaged} cannot be read") == 1


def test_processes_that_do_not_see_one_another_are_refused(root, folders, networks):
    """Without --cpu accelerate looks for GPUs only; each process would do all the work and write the report."""
    done = launch(root, 2, "--generated", folders[0], "--metrics", "pic", "--dreamsim", networks["dreamsim"])
    assert (
        done.returncode
        and done.stderr.count("2 processes were started and accelerate made 1 of them work together; where there is no") == 1
    )
