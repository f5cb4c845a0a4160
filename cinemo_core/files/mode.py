"""Permissions of files that others are to read."""

import os
from pathlib import Path


def allow_others(path: Path) -> None:
    """Give a file the permissions of a newly made one: temporary files, and those that safetensors writes, are private to their owner."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
