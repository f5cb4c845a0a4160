"""What converting needs of memory, whatever the size of the file, and what it says where the disk is full."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from cinemo_pack.cinemo_core.models.cinemo.skeleton import expected_shapes
from cinemo_pack.tests import drawn
from safetensors.torch import save_file

MEASURED = """
import sys, types, threading
from pathlib import Path
pack = types.ModuleType("cinemo_pack")
pack.__path__ = [sys.argv[1]]
sys.modules["cinemo_pack"] = pack
import torch
from cinemo_pack.cinemo_core import convert

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024

torch.zeros(9).half().isinf().any()
before, most, done = anonymous(), 0, threading.Event()

def watch():
    global most
    while not done.wait(0.001):
        most = max(most, anonymous())

thread = threading.Thread(target=watch)
thread.start()
convert.convert(Path(sys.argv[2]), Path(sys.argv[3]), convert.TARGET_DTYPES[sys.argv[4]], True, lambda *_: None)
done.set()
thread.join()
print(most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Reads what Linux says of the process's memory.")
@pytest.mark.parametrize(("suffix", "dtype"), [(".safetensors", "keep"), (".safetensors", "fp32"), (".bin", "fp32")])
def test_memory_does_not_grow_with_the_file(tmp_path, root, suffix, dtype):
    """A quarter of the file at most, memory that maps a file left out; the largest tensor is a tenth of it."""
    shapes = expected_shapes(replace(drawn.UNET, model_channels=256))
    wide = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
    source, target = tmp_path / f"wide{suffix}", tmp_path / "target.safetensors"
    save_file(wide, source) if suffix == ".safetensors" else torch.save(wide, source)
    command = [sys.executable, "-c", MEASURED, str(root), str(source), str(target), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 100_000_000
    assert int(done.stdout) < target.stat().st_size / 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes.")
def test_a_full_disk_is_one_sentence(tmp_path, root):
    """A limit on the size of files is met where a full disk is."""
    code = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); runpy.run_module('cinemo_core.convert', run_name='__main__')"
    )
    source = tmp_path / "source.safetensors"
    save_file(drawn.unet_weights(), source)
    before = sorted(f.name for f in tmp_path.iterdir())
    for dtype in ("keep", "bf16"):
        command = [sys.executable, "-c", code, str(source), str(tmp_path / "target.safetensors"), "--dtype", dtype]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("convert: ") and done.stderr.count("\n") == 1, done.stderr
        assert sorted(f.name for f in tmp_path.iterdir()) == before
