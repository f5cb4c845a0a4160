"""Errors meant for people: each says in one sentence what was found, what was expected and what to do."""

import unicodedata

# control characters, lone surrogates, line and paragraph separators
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


class CinemoError(ValueError):
    """Base of every error that a user's input can cause.

    Sentences quote names and values from files, which may hold any character: those that would break the line, or that
    a terminal obeys or cannot encode, are written as escapes.
    """

    def __init__(self, sentence: str):
        super().__init__("".join(repr(c)[1:-1] if unicodedata.category(c) in UNPRINTABLE else c for c in sentence))


class CheckpointError(CinemoError):
    """A file or folder is not a checkpoint that this pack can load."""


class ConditioningError(CinemoError):
    """Conditioning and latent do not describe the same clip, or carry no Cinemo conditioning."""


class InputError(CinemoError):
    """A value, image or latent is outside what the operation can take."""


class SamplingError(CinemoError):
    """Sampling cannot be done as a sampler or node asks for it, or has ended in no numbers."""


class MissingPartError(CinemoError, AttributeError):
    """A checkpoint does not hold the part that is used; an AttributeError, so that whoever only asks what it has finds nothing."""
