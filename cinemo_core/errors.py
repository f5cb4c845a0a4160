"""Errors meant for people: each says in one sentence what was found, what was expected and what to do."""


class CinemoError(ValueError):
    """Base of every error that a user's input can cause."""


class CheckpointError(CinemoError):
    """A file or folder is not a checkpoint that this pack can load."""


class ConditioningError(CinemoError):
    """Conditioning and latent do not describe the same clip, or carry no Cinemo conditioning."""


class InputError(CinemoError):
    """A value, image or latent lies outside what the operation can take."""
