"""Errors stay one line of text that every terminal can print, whatever the file held that they quote."""

import pickle

import pytest
from cinemo_pack.cinemo_core.errors import CinemoError, InputError
from cinemo_pack.cinemo_core.models.clip_text import keys as clip_text
from cinemo_pack.tests import drawn


@pytest.mark.parametrize(
    ("character", "escape"), [("\n", r"\n"), ("\r", r"\r"), ("\x1b", r"\x1b"), ("\u2028", r"\u2028"), ("\ud800", r"\ud800")]
)
def test_characters_that_break_the_line_are_escaped(character, escape):
    sentence = str(InputError(f"The file says {character}, expected 3."))
    assert sentence == f"The file says {escape}, expected 3."
    assert sentence.encode()


def test_words_of_every_language_and_windows_paths_stay():
    sentence = r"Es fehlt „größe“ in 動画　モデル 🎞️, C:\new\table."
    assert str(CinemoError(sentence)) == sentence
    assert str(pickle.loads(pickle.dumps(CinemoError(sentence)))) == sentence


def test_a_quoted_value_is_distinguished_from_the_sentence():
    with pytest.raises(CinemoError, match=r"says hidden_size = '\\n', expected 64"):
        clip_text.read_config(clip_text.shapes(drawn.TEXT), {"hidden_size": "\n"})
