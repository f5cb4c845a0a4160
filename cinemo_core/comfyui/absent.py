"""A stand-in for a part that a checkpoint does not hold: an unused output needs nothing, and a used one explains itself."""

from typing import NoReturn

from ..errors import MissingPartError


class Absent:
    """Raises its sentence wherever it is used, in any node, as ComfyUI's own VAE of a checkpoint without one does."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # Python asks for these of every object
            raise AttributeError(name)
        raise MissingPartError(self._sentence)
