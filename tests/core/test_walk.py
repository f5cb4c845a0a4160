"""What is found below people's folders: links, cycles, leftovers of operating systems, and what cannot be reached."""

from pathlib import Path

import pytest
from cinemo_pack.cinemo_core.files.walk import files_below, files_in, folders_in, is_hidden
from cinemo_pack.tests.links import link

LEFTOVERS = ["._a.mp4", ".DS_Store", "Thumbs.db", "desktop.ini", ".a.mp4.part"]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(root: Path, files) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files]


@pytest.fixture
def unreachable(tmp_path):
    """Ways in which a path cannot be reached, as links, so that they hold for root too: Path.is_dir raises for the last."""
    folder = tmp_path / "unreachable"
    folder.mkdir()
    link(folder / "dangling", "nowhere")
    link(folder / "loop", "loop")
    link(folder / "too_long", "x" * 300)
    return folder


def test_files_come_before_folders_and_by_name(tmp_path):
    touch(tmp_path, "b/two", "b/one", "z", "a/x/deep", "a/y", "A")
    assert names(tmp_path, files_below(tmp_path)) == ["A", "z", "a/y", "a/x/deep", "b/one", "b/two"]
    assert names(tmp_path, files_in(tmp_path)) == ["A", "z"]
    assert names(tmp_path, folders_in(tmp_path)) == ["a", "b"]


def test_leftovers_are_not_there(tmp_path):
    touch(
        tmp_path,
        "a.mp4",
        *LEFTOVERS,
        ".git/a.mp4",
        "__MACOSX/a.mp4",
        "@eaDir/a.mp4",
        "clips/a.mp4",
        *(f"clips/{name}" for name in LEFTOVERS),
    )
    assert names(tmp_path, files_below(tmp_path)) == ["a.mp4", "clips/a.mp4"]
    assert names(tmp_path, files_in(tmp_path)) == ["a.mp4"]
    assert names(tmp_path, folders_in(tmp_path)) == ["clips"]
    assert not is_hidden("a.mp4") and all(map(is_hidden, LEFTOVERS))


def test_a_hidden_folder_that_is_asked_for_is_looked_through(tmp_path):
    touch(tmp_path / ".cache", "a.mp4")
    assert names(tmp_path, files_below(tmp_path / ".cache")) == [".cache/a.mp4"]


def test_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path / "elsewhere", "a.mp4", "deeper/b.mp4")
    root = touch(tmp_path / "data", "own/c.mp4")
    link(root / "again", tmp_path / "elsewhere")
    link(root / "linked", tmp_path / "elsewhere")
    link(root / "alias", root / "own")
    assert names(root, files_below(root)) == ["own/c.mp4", "again/a.mp4", "again/deeper/b.mp4"]


def test_folders_that_contain_each_other_end(tmp_path):
    root = touch(tmp_path / "data", "a/b/c.mp4")
    link(root / "a" / "b" / "up", root)
    link(root / "a" / "b" / "self", root / "a" / "b")
    assert names(root, files_below(root)) == ["a/b/c.mp4"]


def test_links_that_lead_nowhere_are_files(unreachable):
    """Whoever reads them says so; a clip that is silently missing would not be noticed."""
    assert names(unreachable, files_below(unreachable)) == ["dangling", "loop", "too_long"]
    assert folders_in(unreachable) == []


def test_nothing_is_in_a_folder_that_cannot_be_reached(unreachable):
    for path in (*unreachable.iterdir(), unreachable / "absent"):
        assert files_in(path) == folders_in(path) == list(files_below(path)) == []


def test_a_folder_that_may_not_be_entered_is_named_and_the_rest_found(caplog, as_nobody):
    root = touch(as_nobody.folder, "a/secret/x.mp4", "b/y.mp4")
    (root / "a" / "secret").chmod(0)
    with as_nobody():
        found = names(root, files_below(root))
    assert found == ["b/y.mp4"]
    (record,) = caplog.records
    assert record.getMessage() == f"{root / 'a' / 'secret'} cannot be read (Permission denied); what is in it is left out."
