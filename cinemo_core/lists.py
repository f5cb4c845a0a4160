"""Lists that people write, as CSV or JSON lines: what they are not is told in a sentence."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises InputError, with the file's name, where what is read inside is not UTF-8 or not CSV."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{path} is not CSV ({error}); correct it.") from None
