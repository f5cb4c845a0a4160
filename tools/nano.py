"""Keeps the nano checkpoint: a small Cinemo of seeded random weights, complete, in the folder layout of the published one."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from .console import DevError, say
from .environment import LAUNCH, ROOT

NAME = "cinemo-nano"
FOLDER = ROOT / ".comfyui" / NAME
SOURCES = ("*.py", "models/**/*.py")  # what cinemo_core.nano is made of
STAMP = ROOT / ".comfyui" / f"{NAME}.sha256"


def nano_checkpoint() -> Path:
    """The folder of the nano checkpoint, made anew whenever the code that makes it has changed."""
    code = hashlib.sha256()
    for path in sorted(source for pattern in SOURCES for source in (ROOT / "cinemo_core").glob(pattern)):
        code.update(path.read_bytes())
    if not (FOLDER.exists() and STAMP.exists() and STAMP.read_text() == code.hexdigest()):
        say(f"* making the nano checkpoint in {FOLDER}")
        STAMP.unlink(missing_ok=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.parent.mkdir(exist_ok=True)
        if subprocess.run([sys.executable, str(LAUNCH), "cinemo_core.nano", str(FOLDER)], check=False).returncode:
            raise DevError(f"The nano checkpoint could not be written to {FOLDER}; the message above says why.")
        STAMP.write_text(code.hexdigest())
    return FOLDER
