"""Text and lists that people write, whatever their editor puts in front of them."""

from pathlib import Path

import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.files.text import open_text, read_rows, read_text
from cinemo_pack.cinemo_core.training.config import Config, read_config
from cinemo_pack.cinemo_core.training.nano import __file__ as nano

MARKS = ["utf-8", "utf-8-sig"]


@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("naïve \ufeff inside\n", encoding=encoding)
    assert read_text(tmp_path / "a.txt") == "naïve \ufeff inside\n"


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'path,caption,more\nb.mp4,"a cat, asleep",1\nc.mp4,"two\nlines",\n'),
        ("a.CSV", 'caption,path\r\n"a cat, asleep",b.mp4\r\n"two\nlines",c.mp4\r\n'),
        ("a.jsonl", '{"path": "b.mp4", "caption": "a cat, asleep"}\n\n{"path": "c.mp4", "caption": "two\\nlines", "n": 3}\n'),
        ("a.ndjson", '{"path": "b.mp4", "caption": "a cat, asleep"}\r\n{"path": "c.mp4", "caption": "two\\nlines"}'),
    ],
)
def test_lists(tmp_path, name, text, encoding):
    (tmp_path / name).write_text(text, encoding=encoding, newline="")
    rows = [(row.values["path"], row.values["caption"]) for row in read_rows(tmp_path / name, ("path", "caption"))]
    assert rows == [("b.mp4", "a cat, asleep"), ("c.mp4", "two\nlines")]


@pytest.mark.parametrize(
    ("name", "text"), [("c.csv", 'path,caption\na,"a cat\u2028sleeps"\n'), ("c.jsonl", '{"path": "a", "caption": "a cat\u2028sleeps"}\n')]
)
def test_only_line_feeds_end_a_row(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [row.values["caption"] for row in read_rows(tmp_path / name, ("path",))] == ["a cat\u2028sleeps"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,caption\na,b\n", r"a\.csv has the columns file, caption; its first line must name path and caption\."),
        ("a.csv", "", r"a\.csv has the columns none; its first line"),
        ("a.csv", "caption,path\na,x\nb\n", r"Line 3 of .*a\.csv has no path; every row needs path and caption\."),
        ("a.csv", 'path,caption\n"a\nb",x\nc,  \n', r"Line 4 of .*a\.csv has no caption"),
        ("a.csv", f"path,caption\na,{'x' * 200_000}\n", r"a\.csv is not CSV \(field larger than .*\); correct it\."),
        ("a.jsonl", '{"path": "a", "caption": "b"}\n\n{"caption": "b"}\n', r"Line 3 of .*a\.jsonl has no path"),
        ("a.jsonl", '{"path": "a", "caption": 3}', r"Line 1 of .*a\.jsonl has no caption"),
        ("a.jsonl", "[1]\n", r"Line 1 of .*a\.jsonl is not an object in braces"),
        ("a.jsonl", "{path", r"Line 1 of .*a\.jsonl is not JSON \(.*\); write one object a line\."),
        ("a.txt", "path,caption\n", r"a\.txt is neither a \.csv nor a \.jsonl list"),
    ],
)
def test_lists_that_are_none(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(read_rows(tmp_path / name, ("path", "caption")))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_named(tmp_path, name, encoding):
    text = "path,caption\na,un château\n" if name == "a.csv" else '{"path": "a", "caption": "un château"}\n'
    (tmp_path / name).write_text(text, encoding=encoding)
    with pytest.raises(InputError, match=r"is not UTF-8 \(.* at byte \d+\); save it as UTF-8\."):
        list(read_rows(tmp_path / name, ("path",)))


def test_a_file_that_may_not_be_read_is_one_sentence(as_nobody):
    path = as_nobody.folder / "a.txt"
    path.write_text("secret")
    path.chmod(0)
    with as_nobody(), pytest.raises(InputError, match=r"a\.txt cannot be read \(Permission denied\); check the path and its permissions\."):
        read_text(path)


def test_errors_of_the_reader_are_left_alone(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="mine"), open_text(tmp_path / "a.txt"):
        raise InputError("mine")


@pytest.mark.parametrize("encoding", MARKS)
def test_a_configuration_may_have_a_byte_order_mark(tmp_path, encoding):
    recipe = read_text(Path(nano).with_name("residual.toml"))
    (tmp_path / "run.toml").write_text(recipe, encoding=encoding)
    assert isinstance(read_config(tmp_path / "run.toml"), Config)
