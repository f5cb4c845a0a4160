"""What the tools say to the person at the terminal."""

from typing import Any


class DevError(Exception):
    """Ends a command with one sentence: what was found, what was expected, what to do. Printed without a traceback."""


def say(message: Any) -> None:
    """Print a line at once, also when the output is a pipe."""
    print(message, flush=True)
