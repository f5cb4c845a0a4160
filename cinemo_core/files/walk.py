"""Looking through people's folders, which hold more than what is looked for.

A folder that may not be read or whose disk went away is left out. Linked folders are followed, each folder is visited
once. Hidden files and what operating systems leave behind (`._name`, `Thumbs.db`) are not there.

`os.path.isfile` and `os.path.isdir` are used throughout, because those of pathlib raise where a path cannot be reached.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

# Written by Windows, macOS and Synology; other names of theirs start with a dot.
LEFT_BEHIND = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx", "@eadir"})


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the person's own."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def files_in(folder: str | Path) -> list[Path]:
    """Files directly in a folder, by name, links that lead nowhere included. None if it cannot be read."""
    for place, _, names in os.walk(str(folder)):
        return [Path(place, name) for name in _visible(names)]
    return []


def folders_in(folder: str | Path) -> list[Path]:
    """Folders directly in a folder, by name, linked ones included. None if it cannot be read."""
    for place, names, _ in os.walk(str(folder)):
        return [Path(place, name) for name in _visible(names)]
    return []


def files_below(root: str | Path) -> Iterator[Path]:
    """Every file below a folder, links that lead nowhere included: a folder's own files, then those of its folders, by name.

    What only links lead to comes last, so a link to a folder that is there anyway adds nothing. A folder that cannot be
    read is logged.
    """
    visited = set()
    waiting = [str(root)]
    for start in waiting:  # grows as links are found
        for place, folders, names in os.walk(start, followlinks=True, onerror=_log):
            real = os.path.realpath(place)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            visible = _visible(folders)
            linked = [name for name in visible if os.path.islink(os.path.join(place, name))]
            waiting += [os.path.join(place, name) for name in linked]
            folders[:] = [name for name in visible if name not in linked]
            yield from (Path(place, name) for name in _visible(names))


def _visible(names: list[str]) -> list[str]:
    return sorted(name for name in names if not is_hidden(name))


def _log(error: OSError) -> None:
    logging.warning("%s cannot be read (%s); what is in it is left out.", error.filename, error.strerror)
