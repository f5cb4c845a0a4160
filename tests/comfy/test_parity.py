"""`dev.py parity` on the recorded cases of every family."""

import subprocess
import sys
from pathlib import Path

import pytest
from cinemo_pack.tests.goldens import FOLDER, meta
from cinemo_pack.tests.goldens.animate_anyone.rule import network
from cinemo_pack.tests.goldens.rule import state_dict
from safetensors.torch import save_file

CINEMO_WEIGHTS = FOLDER / "unet_tiny_a.weights.safetensors"
CINEMO_CASES = FOLDER / "unet_tiny_a.cases.safetensors"
ANIMATE_ANYONE_CASES = FOLDER / "animate_anyone" / "unet_tiny_a.cases.safetensors"
DYNAMICRAFTER_CASES = FOLDER / "dynamicrafter" / "unet_tiny_a.cases.safetensors"


def parity(root: Path, weights: Path, cases: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, root / "tools" / "launch.py", "tools.parity", weights, cases]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if line.endswith("ok")]


@pytest.fixture
def dynamicrafter_weights(tmp_path) -> Path:
    facts = meta("dynamicrafter/unet_tiny_a.cases")["weights"]
    path = tmp_path / "unet.safetensors"
    save_file(state_dict(facts["keys"], facts["weight_seed"], facts["checksum"]), path)
    return path


def test_cinemo(root):
    done = parity(root, CINEMO_WEIGHTS, CINEMO_CASES)
    assert done.returncode == 0 and rows(done.stdout) == [f"c{i}" for i in range(9)], done.stderr


def test_dynamicrafter_leaves_out_what_other_weights_gave(root, dynamicrafter_weights):
    done = parity(root, dynamicrafter_weights, DYNAMICRAFTER_CASES)
    assert done.returncode == 0 and rows(done.stdout) == [f"c{i}" for i in range(8)], done.stderr
    assert done.stdout.endswith("3 cases left out, recorded with other weights: l0, l1, l2\n")


@pytest.fixture
def animate_anyone_set(tmp_path) -> Path:
    """A published set, as a folder of files."""
    for file, facts in meta("animate_anyone/unet_tiny_a.cases")["weights"].items():
        save_file(network(facts), tmp_path / f"{file}.safetensors")
    return tmp_path


def test_animate_anyone_from_a_folder(root, animate_anyone_set):
    done = parity(root, animate_anyone_set, ANIMATE_ANYONE_CASES)
    assert done.returncode == 0 and sorted(rows(done.stdout)) == sorted(f"c{i}" for i in range(12)), done.stderr


def test_animate_anyone_reenactment(root, animate_anyone_set):
    others = meta("animate_anyone/reenact_tiny_a")["weights"]
    unet, motion = (network(meta("animate_anyone/unet_tiny_a.cases")["weights"][file]) for file in ("denoising_unet", "motion_module"))
    save_file(unet | motion, animate_anyone_set / "denoising_unet.safetensors")
    save_file(network(others["reference_unet_3d"]), animate_anyone_set / "reference_unet.safetensors")
    save_file(network(others["pose_guider2"]), animate_anyone_set / "pose_guider2.safetensors")
    (animate_anyone_set / "motion_module.safetensors").unlink()
    done = parity(root, animate_anyone_set, ANIMATE_ANYONE_CASES.with_name("reenact_tiny_a.safetensors"))
    assert done.returncode == 0 and rows(done.stdout) == ["e0", "e1"], done.stderr


def test_other_weights_leave_nothing_to_compare(root, dynamicrafter_weights):
    """One value differs, so the checksum does, and no case is left."""
    facts = meta("dynamicrafter/unet_tiny_a.cases")["weights"]
    tensors = state_dict(facts["keys"], facts["weight_seed"])
    tensors["out.2.bias"] += 1
    save_file(tensors, dynamicrafter_weights)
    done = parity(root, dynamicrafter_weights, DYNAMICRAFTER_CASES)
    assert done.returncode == 1 and not rows(done.stdout) and "11 cases left out" in done.stdout


@pytest.mark.parametrize(
    ("weights", "cases", "sentence"),
    [
        (CINEMO_WEIGHTS, DYNAMICRAFTER_CASES, "holds no case of Cinemo: expected tensors such as c0.sample and c0.output."),
        (CINEMO_CASES, CINEMO_CASES, "is an unknown model, expected a Cinemo UNet or a DynamiCrafter UNet or an Animate Anyone UNet."),
    ],
)
def test_files_that_cannot_be_compared(root, weights, cases, sentence):
    done = parity(root, weights, cases)
    assert done.returncode == 2 and done.stderr.strip().endswith(sentence)
