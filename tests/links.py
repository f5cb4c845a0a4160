"""Symbolic links, which Windows lets only some accounts make."""

import os
from pathlib import Path

import pytest


def link(place: Path, target: str | Path) -> None:
    """A link to a file or folder, there or not; skips the test where none can be made."""
    try:
        place.symlink_to(target, target_is_directory=os.path.isdir(place.parent / target))
    except OSError as error:
        pytest.skip(f"this system makes no symbolic links ({error})")
