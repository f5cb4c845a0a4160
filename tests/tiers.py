"""The tier of every test, as its marker, and `--tier`, which runs some of them.

A tier is a matter of files, so that `--tier` leaves the others unread: the unit tests run where there is no ComfyUI, and start
at once.
"""

from pathlib import Path, PurePosixPath

import pytest

TESTS = Path(__file__).resolve().parent
TIERS = ("unit", "contract", "system", "browser", "soak")  # pyproject.toml says what each is
# The longest place that holds a file decides.
PLACES = {
    "core": "unit",
    "core/evaluation/claims": "system",  # draws and judges many clips
    "core/evaluation/test_evaluate.py": "system",  # several processes
    "core/test_convert_limits.py": "system",  # processes of their own
    "core/test_download.py": "system",  # a hub on this machine, cut connections, kills
    "core/test_download_file.py": "system",  # the same hub
    "core/test_download_set.py": "system",  # the same hub
    "core/test_fuzz.py": "soak",
    "core/test_killed.py": "system",
    "core/training/test_autoencoder.py": "system",
    "core/training/test_gated_start.py": "system",
    "core/training/test_grow_large.py": "system",
    "core/training/test_mistakes.py": "system",
    "core/training/test_procedural.py": "system",  # draws many clips
    "core/training/test_run.py": "system",
    "comfy": "contract",
    "comfy/sampling/test_fuzz.py": "soak",
    "comfy/test_parity.py": "system",  # processes of their own
    "comfy/test_training.py": "system",
    "server": "system",
    "server/test_soak.py": "soak",
    "browser": "browser",
}


def tiers_of(path: Path) -> set[str]:
    """The one tier of a file, the tiers of a folder; none for a place that the table does not hold."""
    relative = PurePosixPath(path.relative_to(TESTS).as_posix())
    own = [PLACES[place.as_posix()] for place in (relative, *relative.parents) if place.as_posix() in PLACES]
    below = {tier for place, tier in PLACES.items() if relative in PurePosixPath(place).parents}
    return {*own[:1], *below}


class Tiers:
    """A plugin of its own: the hooks of a conftest.py are asked only about what is below it."""

    def __init__(self, chosen: list[str] | None):
        self.chosen = set(chosen or TIERS)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        found = tiers_of(collection_path) if TESTS in collection_path.parents else set()
        return True if found and not found & self.chosen else None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept, left_out = [], []
        for item in items:
            found = tiers_of(item.path)
            if not found:
                raise pytest.UsageError(f"{item.path} is in no tier: add its folder to PLACES in tests/tiers.py.")
            for tier in found:
                item.add_marker(tier)
            # A file that is named on the command line is read whatever its tier.
            (kept if found & self.chosen else left_out).append(item)
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = kept
