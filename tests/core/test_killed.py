"""kill -9 in the middle of a save: under its name there is what was there before, never half a file."""

import signal
import subprocess
import sys

import pytest
from cinemo_pack.tests import drawn
from safetensors.torch import save_file

# Each is run with the repository importable as cinemo_pack, the folder to work in as its argument, and dies half way.
DIES = "import os, signal\ndie = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
CONVERT = """
import torch
from cinemo_pack.cinemo_core.convert import convert
half = lambda done, total: die() if done > total / 2 else None
convert(folder / "source.safetensors", folder / "saved" / "unet.safetensors", torch.bfloat16, True, half)
"""
EXPORT = """
from cinemo_pack.cinemo_core.training.nano.autoencoder import network
network.json.dumps = die  # the weights are written, their configuration is not
network.write_vae(network.make_vae(network.VAEConfig((32, 32, 32, 32), 1, temporal=False), 0), folder / "saved", network.torch.float16)
"""
SHEET = """
from types import SimpleNamespace
from cinemo_pack.cinemo_core.training.validation import write_sheet
def save(path, format):
    path.write_bytes(b"half")
    die()
write_sheet(SimpleNamespace(save=save), folder / "saved" / "sheet.png")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL.")
@pytest.mark.parametrize("save", [CONVERT, EXPORT, SHEET], ids=["convert", "export", "sheet"])
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "again"])
def test_a_save_that_is_killed_leaves_no_half_file(tmp_path, root, save, earlier):
    save_file(drawn.unet_weights(), tmp_path / "source.safetensors")
    saved = tmp_path / "saved"
    saved.mkdir()
    if earlier:
        for name in ("unet.safetensors", "diffusion_pytorch_model.safetensors", "sheet.png"):
            (saved / name).write_bytes(b"whole")
    code = f"""
import sys, types
from pathlib import Path
pack = types.ModuleType("cinemo_pack")
pack.__path__ = [{str(root)!r}]
sys.modules["cinemo_pack"] = pack
folder = Path(sys.argv[1])
{DIES}{save}"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    visible = [path for path in saved.iterdir() if not path.name.startswith(".")]
    assert {path.read_bytes() for path in visible} == ({b"whole"} if earlier else set())
