"""Which image tokens a frame sees where a clip is not 16 frames long."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.dynamicrafter.tokens import FIRST, REFERENCE, RESAMPLED, check_rule, tokens_of_frames

PER_FRAME, DIM = 2, 3
TOKENS = torch.arange(16.0).repeat_interleave(PER_FRAME)[None, :, None].expand(1, -1, DIM)  # each holds the number of its frame


def frames_seen(frames: int, rule: str) -> torch.Tensor:
    found = tokens_of_frames(TOKENS, frames, rule)
    assert found.shape == (1, frames, PER_FRAME, DIM)
    assert torch.equal(found, found[:, :, :1, :1].expand_as(found))
    return found[0, :, 0, 0]


@pytest.mark.parametrize("rule", [RESAMPLED, FIRST, REFERENCE])
def test_sixteen_frames_have_their_own(rule):
    assert frames_seen(16, rule).tolist() == list(range(16))


@pytest.mark.parametrize("frames", [2, 5, 15, 17, 31, 64])
def test_resampled_tokens_go_from_the_first_to_the_last_evenly(frames):
    torch.testing.assert_close(frames_seen(frames, RESAMPLED), torch.linspace(0, 15, frames), rtol=0, atol=1e-5)


def test_first_and_reference():
    assert frames_seen(5, FIRST).tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(tokens_of_frames(TOKENS, 5, REFERENCE), TOKENS)


def test_resampling_keeps_the_number_format():
    assert tokens_of_frames(TOKENS.half(), 7, RESAMPLED).dtype == torch.float16


def test_rules_that_do_not_fit():
    check_rule(16, FIRST)
    with pytest.raises(InputError, match="asked for in a clip of 17 frames, and there are those of 16; choose resampled"):
        check_rule(17, FIRST)
    with pytest.raises(InputError, match="rule for image tokens is 'none'; choose one of resampled, first, reference"):
        check_rule(5, "none")
