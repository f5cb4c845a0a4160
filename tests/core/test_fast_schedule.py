"""The schedule for few evaluations: its table, step counts between, strength below 1, input that it refuses."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.fast_schedule import TIMESTEPS, fast_sigmas
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod, sigma_of

TABLE = sigma_of(alphas_cumprod())


@pytest.mark.parametrize("steps", TIMESTEPS)
def test_a_searched_count_evaluates_at_its_timesteps(steps):
    assert len(TIMESTEPS[steps]) == steps
    expected = torch.cat([TABLE[list(TIMESTEPS[steps])], torch.zeros(1, dtype=torch.float64)]).float()
    torch.testing.assert_close(fast_sigmas(steps), expected, rtol=1e-6, atol=0)


def test_every_count_falls_strictly_from_the_largest_sigma_to_zero():
    for steps in range(1, 1001):
        sigmas = fast_sigmas(steps)
        assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32
        assert float(sigmas[0]) == pytest.approx(float(TABLE[-1]), rel=1e-6) and sigmas[-1] == 0 and (sigmas.diff() < 0).all(), steps


@pytest.mark.parametrize("steps", [7, 9, 11, 13, 14, 15, 17, 18, 19])
def test_a_count_between_lies_between_its_neighbours(steps):
    """Read at the middle, where both neighbours' curves are."""

    def middle(count):
        return torch.quantile(fast_sigmas(count)[:-1].double().log(), 0.5)

    fewer, more = (middle(count) for count in (max(n for n in TIMESTEPS if n < steps), min(n for n in TIMESTEPS if n > steps)))
    assert min(fewer, more) - 0.1 <= middle(steps) <= max(fewer, more) + 0.1


def test_a_strength_below_1_keeps_the_end():
    assert torch.equal(fast_sigmas(10, 0.5), fast_sigmas(20)[10:])
    assert torch.equal(fast_sigmas(7, 0.6), fast_sigmas(11)[4:])
    assert len(fast_sigmas(10, 0.0)) == 0
    assert len(fast_sigmas(10, 0.001)) == 2  # one of a thousand
    assert len(fast_sigmas(1000, 0.5)) == 501
    assert (fast_sigmas(1000, 1e-300) >= 0).all()


def test_another_models_table_is_read():
    torch.testing.assert_close(fast_sigmas(10, 1.0, 2 * TABLE), 2 * fast_sigmas(10), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0,), "1 to 1000"), ((1001,), "1 to 1000"), ((10, 1.5), "from 0"), ((10, 1.0, TABLE[:50]), "one sigma for each")],
)
def test_input_out_of_range(arguments, words):
    with pytest.raises(InputError, match=words):
        fast_sigmas(*arguments)
