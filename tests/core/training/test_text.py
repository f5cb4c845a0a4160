"""Where the text encoder starts from scratch: as transformers makes it, or as a bag of words."""

import pytest
import torch
from cinemo_pack.cinemo_core.models.clip_text.keys import END_TOKEN, MAX_TOKENS, START_TOKEN
from cinemo_pack.cinemo_core.training import text
from cinemo_pack.cinemo_core.training.config import Text
from cinemo_pack.cinemo_core.training.nano.bag_of_words import bag_of_words
from cinemo_pack.cinemo_core.training.start import make_text_encoder

THE, CAMERA, PANS, LEFT, RIGHT = 518, 3934, 43880, 1823, 1155


def tokens(*words: int) -> torch.Tensor:
    return torch.tensor([START_TOKEN, *words, *[END_TOKEN] * (MAX_TOKENS - 1 - len(words))])


@pytest.mark.parametrize("sizes", [{}, {"width": 96, "layers": 1, "heads": 3}])
def test_one_word_makes_a_difference_at_every_place(sizes):
    """As a share of what the UNet reads; transformers' own initial weights give 0.001 at the last places."""
    encoder = text.from_scratch(Text(**sizes).config(), 0, bag_of_words).eval()
    with torch.no_grad():
        left, right = text.encode(encoder, torch.stack([tokens(THE, CAMERA, PANS, LEFT), tokens(THE, CAMERA, PANS, RIGHT)]))
    after = slice(5, None)  # the places that follow the word; those before cannot know of it
    share = (left - right).square().mean(1)[after] / (left.square().mean(1) + right.square().mean(1))[after]
    assert share.min() > 0.1
    assert left.square().mean().sqrt() == pytest.approx(3, rel=0.05)  # louder than the unit size of a norm's output


def test_the_words_count_and_not_how_many_places_are_left_empty():
    encoder = text.from_scratch(Text().config(), 0, bag_of_words).eval()
    with torch.no_grad():
        (states,) = text.encode(encoder, tokens(THE, CAMERA, PANS, LEFT)[None])
    early, late = states[8], states[70]
    assert torch.nn.functional.cosine_similarity(early, late, dim=0) > 0.9


def test_it_is_seeded():
    one, same, other = (text.from_scratch(Text().config(), seed, bag_of_words).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_gets_the_initial_weights_that_it_asks_for(table, to_config):
    """Transformers' own have a deviation of 0.02, those of the bag of words of 1."""
    plain, words = (to_config(table | {"text": table["text"] | change}) for change in ({}, {"initial_weights": "bag_of_words"}))
    deviations = [make_text_encoder(config).get_input_embeddings().weight.std().item() for config in (plain, words)]
    assert deviations == pytest.approx([0.02, 1.0], rel=0.1)
