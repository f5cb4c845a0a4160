"""Style and types of the whole repository."""

import os
import tempfile
from pathlib import Path

from .console import say
from .environment import ROOT, Environment

CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))
PACKAGE = "cinemo_pack"  # as the tests name the pack too; the folder's own name may be none that Python can import


def lint(environment: Environment) -> int:
    """Run every check; the exit code of the worst."""
    return max([*(environment.run("-m", *check, folder=ROOT) for check in CHECKS), check_nodes(environment)])


def check_nodes(environment: Environment) -> int:
    """Types of nodes/, which imports what is above it and so has to be seen as part of a package."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / PACKAGE).symlink_to(ROOT, target_is_directory=True)
        except OSError as error:  # Windows allows links to some accounts only
            say(f"The types of nodes/ are not checked: no link can be made here ({error}).")
            return 0
        os.environ["MYPYPATH"] = folder
        try:
            return environment.run("-m", "mypy", "--package", f"{PACKAGE}.nodes", folder=ROOT)
        finally:
            del os.environ["MYPYPATH"]
