"""The search for cinemo_fast: the solver, what stands in for the network, and that a schedule is found, the same every time."""

from itertools import pairwise

import pytest
import torch
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod, sigma_of
from cinemo_pack.tools.fast_schedule.search import (
    Trajectory,
    descended,
    error,
    moved,
    multistep,
    read,
    search,
    spaced,
    starts,
    surrogate_run,
    timesteps,
)

TABLE = sigma_of(alphas_cumprod()).float().log()
DATA = torch.tensor([0.05, 0.3, 1.0, 2.0])  # standard deviations of data for which prediction and path are known exactly


def predict(state, place):
    """The mean of normal data, given its sum with noise of deviation exp(place)."""
    return state * DATA**2 / (DATA**2 + (2 * place).exp())


def exact(place):
    """The state at log sigma `place` of the path that begins at the noisiest one as (1, 1, 1, 1) times its deviation there."""
    return (DATA**2 + (2 * place).exp()).sqrt()


def even(count):
    return torch.linspace(float(TABLE[-1]), float(TABLE[0]), count)


END = predict(exact(TABLE[0]), TABLE[0])  # the last prediction of a run without error


def error_of(places):
    """Of the solver, with the true prediction, in dB."""
    return float(error(multistep(places, predict, exact(TABLE[-1])), END))


@pytest.fixture(scope="module")
def trajectory():
    grid = even(400).flip(0)
    states = torch.stack([exact(place) for place in grid])
    predictions = torch.stack([predict(state, place) for state, place in zip(states, grid, strict=True)])
    return Trajectory(grid, states, predictions, END)


def test_the_solver_is_of_second_order():
    """Twice the evaluations, about a quarter of the error, which is 6 dB in the mean square for each order."""
    assert 10 < error_of(even(64)) - error_of(even(128)) < 14


def test_one_evaluation_is_the_first_prediction():
    start = exact(TABLE[-1])
    torch.testing.assert_close(multistep(TABLE[-1:], predict, start), predict(start, TABLE[-1]))


def test_on_the_true_path_the_surrogate_errs_like_the_solver(trajectory):
    assert abs(error_of(even(64)) - float(error(surrogate_run(even(64), trajectory, spread=1.0), END))) < 6


def test_a_found_schedule_errs_less_than_even_steps_with_the_true_prediction(trajectory):
    found = search(10, [trajectory], TABLE)
    assert error_of(TABLE[list(found)]) < error_of(even(10)) - 2


def test_the_search_is_the_same_every_time_and_begins_at_the_last_timestep(trajectory):
    first, second = (search(6, [trajectory], TABLE, rounds=20) for _ in range(2))
    assert first == second
    assert first[0] == 999 and all(after < before for before, after in pairwise(first))


def test_a_known_row_is_kept_where_the_starts_lead_to_a_worse_one(trajectory):
    best = search(6, [trajectory], TABLE)
    missed, found = (search(6, [trajectory], TABLE, rounds=1, known=known) for known in ([], [best]))
    of_missed, of_found, of_best = (float(error(surrogate_run(TABLE[list(row)], trajectory), END)) for row in (missed, found, best))
    assert of_found <= of_best < of_missed - 0.05


def away_from(row):
    """A loss that is least at these timesteps, and 0 there."""
    return lambda places: (places - TABLE[list(row)]).square().sum()


def test_both_ways_of_a_search_reach_what_is_best():
    best = (999, 801, 333, 70, 6)
    for start in starts(5, TABLE):
        found = descended(start, away_from(best), TABLE, 400)
        assert max(abs(ours - theirs) for ours, theirs in zip(found, best, strict=True)) <= 12
        assert moved(found, away_from(best), TABLE) == best


def test_a_move_keeps_the_order_and_the_range():
    """Where the best lies outside, or where two want the same timestep."""
    row = moved((999, 500, 30, 20), lambda places: places[1:].sum(), TABLE)
    assert row == (999, 2, 1, 0)


def test_the_starts_are_even_in_noise_and_in_time():
    noise, time = starts(5, TABLE)
    torch.testing.assert_close(noise, even(6)[:5])
    torch.testing.assert_close(time, TABLE[[999, 774, 549, 325, 100]])


def test_spaced_shares_out_the_tables_range():
    places = spaced(torch.zeros(4), TABLE)
    torch.testing.assert_close(places, even(5)[:4])


def test_timesteps_that_would_be_the_same_are_moved_up():
    assert timesteps(TABLE[[999, 5, 5, 4, 0]], TABLE) == (999, 6, 5, 4, 0)


def test_read_is_straight_between_and_beyond_rows():
    grid, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([[0.0], [2.0], [4.0]])
    assert [float(read(grid, values, torch.tensor(place))) for place in (0.5, 1.0, 2.0, 4.0)] == [1.0, 2.0, 3.0, 5.0]
