"""Text that people write: captions, configurations, lists. UTF-8, with or without the mark that Windows puts in front."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..errors import InputError

CSV = ".csv"
JSON_LINES = (".jsonl", ".ndjson")


class Row(NamedTuple):
    """A row of a list and the line that it ends on."""

    line: int
    values: Mapping[str, Any]


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A text file, without its byte order mark. Raises InputError for one that cannot be read, also while it is read."""
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from None


def read_text(path: Path) -> str:
    """What a text file holds. Raises InputError as `open_text` does."""
    with open_text(path) as file:
        return file.read()


def read_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    """Rows of a .csv with a header, or of a .jsonl with an object on each line; each has a text under every `required` name.

    One row is in memory at a time. Raises InputError, naming the line, for anything else.
    """
    suffix = path.suffix.lower()
    if suffix != CSV and suffix not in JSON_LINES:
        raise InputError(f"{path} is neither a .csv nor a .jsonl list; give one of those.")
    for line, values in _csv_rows(path, required) if suffix == CSV else _json_rows(path):
        for name in required:
            value = values.get(name)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"Line {line} of {path} has no {name}; every row needs {' and '.join(required)}.")
        yield Row(line, values)


def _csv_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    with open_text(path, newline="") as file:
        reader = csv.DictReader(file)
        try:
            columns, needed = reader.fieldnames or (), " and ".join(required)
            if not set(required).issubset(columns):
                raise InputError(f"{path} has the columns {', '.join(columns) or 'none'}; its first line must name {needed}.")
            for row in reader:
                yield Row(reader.line_num, row)
        except csv.Error as error:
            raise InputError(f"{path} is not CSV ({error}); correct it.") from None


def _json_rows(path: Path) -> Iterator[Row]:
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except ValueError as error:
                raise InputError(f"Line {line} of {path} is not JSON ({error}); write one object a line.") from None
            if not isinstance(values, Mapping):
                raise InputError(f"Line {line} of {path} is not an object in braces; write one object a line.")
            yield Row(line, values)
