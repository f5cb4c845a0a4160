"""The search for a schedule: where DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) errs least along known trajectories.

Running the network for every schedule that is tried would take days, and its gradient more. Here it is replaced by what it
predicted along a fine run, read at any noise level, and pulled by the state's error as normal data of variance SPREAD would pull it:
D(x) = D* + (x - x*) v / (v + sigma^2). With that, a whole run is a few sums. Adam finds a schedule in seconds; then single timesteps
are moved as long as that helps. Both begin at two schedules, for there are several minima.

SPREAD says how much of an error the network keeps. It was chosen so that the error here is about that of the network itself, which
`dev.py py -m tools.fast_schedule search` prints next to it: with 1, the error of 10 evaluations was 6 to 11 dB too small, and the
schedules that were found had too few evaluations at high noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

ROUNDS, RATE = 200, 0.05
SPREAD = 8.0
LEAST_SHARE = 2e-3  # of the range of log sigmas, between two evaluations that Adam begins with
MOVES = (16, 8, 4, 2, 1)  # timesteps
GAIN = 1e-3  # dB that a move has to bring


@dataclass(frozen=True)
class Trajectory:
    """A fine run of some clips, from clean to noisy.

    log_sigmas: [n], rising. states, predictions: [n, clips, values], what the network saw there and predicted. result: [clips, values].
    """

    log_sigmas: Tensor
    states: Tensor
    predictions: Tensor
    result: Tensor


def search(
    steps: int, trajectories: Sequence[Trajectory], table: Tensor, rounds: int = ROUNDS, known: Sequence[tuple[int, ...]] = ()
) -> tuple[int, ...]:
    """Timesteps of `steps` evaluations, from noisy to clean, with the least mean error in dB over the clips of the trajectories.

    table: logarithms of the sigmas of the timesteps, [1000]. known: rows of `steps` timesteps to improve, too.
    The first evaluation is at the last timestep. No chance is involved.
    """

    def loss(places: Tensor) -> Tensor:
        return torch.stack([error(surrogate_run(places, trajectory), trajectory.result).mean() for trajectory in trajectories]).mean()

    begun = [descended(start, loss, table, rounds) for start in starts(steps, table)]
    found = [moved(row, loss, table) for row in (*begun, *known)]
    return min(found, key=lambda row: float(loss(table[list(row)])))


def starts(steps: int, table: Tensor) -> list[Tensor]:
    """Log sigmas [steps] that are evenly spaced, and those of evenly spaced timesteps."""
    even = torch.linspace(float(table[-1]), float(table[0]), steps + 1)[:-1]
    last = len(table) - 1
    return [even, table[torch.linspace(last, last / (2 * steps), steps).round().long()]]


def descended(start: Tensor, loss: Callable[[Tensor], Tensor], table: Tensor, rounds: int) -> tuple[int, ...]:
    """The timesteps of the least loss that Adam meets."""
    ends = torch.cat([start, table[:1]])
    shares = ((ends[:-1] - ends[1:]) / (table[-1] - table[0])).clamp_min(LEAST_SHARE)
    widths = shares.log().requires_grad_()
    optimizer = torch.optim.Adam([widths], RATE)
    least, best = float("inf"), start
    for _ in range(rounds):
        places = spaced(widths, table)
        value = loss(places)
        if value.item() < least:
            least, best = value.item(), places.detach()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return timesteps(best, table)


@torch.no_grad()
def moved(row: tuple[int, ...], loss: Callable[[Tensor], Tensor], table: Tensor) -> tuple[int, ...]:
    """The row with single timesteps but the first moved, by less and less, as long as the loss falls."""
    least = float(loss(table[list(row)]))
    for move in MOVES:
        better = True
        while better:
            better = False
            for index in range(1, len(row)):
                for step in (-move, move):
                    tried = (*row[:index], row[index] + step, *row[index + 1 :])
                    if tried[-1] < 0 or any(after >= before for before, after in pairwise(tried)):
                        continue
                    value = float(loss(table[list(tried)]))
                    if value < least - GAIN:
                        least, row, better = value, tried, True
    return row


def spaced(widths: Tensor, table: Tensor) -> Tensor:
    """Log sigmas [n] that fall from the table's last by shares of its range, softmax(widths); the last share is left below them."""
    fallen = torch.cat([widths.new_zeros(1), widths.softmax(0).cumsum(0)[:-1]])
    return table[-1] + (table[0] - table[-1]) * fallen


def timesteps(places: Tensor, table: Tensor) -> tuple[int, ...]:
    """The nearest timesteps to log sigmas, moved up where two would be the same."""
    found = [int((place - table).abs().argmin()) for place in places]
    for index in range(len(found) - 2, -1, -1):
        found[index] = max(found[index], found[index + 1] + 1)
    return tuple(found)


def surrogate_run(places: Tensor, trajectory: Trajectory, spread: float = SPREAD) -> Tensor:
    """What the solver ends in, [clips, values], from the trajectory's own start."""

    def predict(state: Tensor, place: Tensor) -> Tensor:
        predicted = read(trajectory.log_sigmas, trajectory.predictions, place)
        if state is start:
            return predicted
        return predicted + (state - read(trajectory.log_sigmas, trajectory.states, place)) * spread / (spread + (2 * place).exp())

    start = trajectory.states[-1]
    return multistep(places, predict, start)


def multistep(places: Tensor, predict: Callable[[Tensor, Tensor], Tensor], state: Tensor) -> Tensor:
    """DPM-Solver++(2M) at log sigmas [n] and then at sigma 0, which is its last prediction."""
    before = predict(state, places[0])
    for index in range(len(places) - 1):
        width = places[index] - places[index + 1]
        if index == 0:
            slope = predicted = before
        else:
            predicted = predict(state, places[index])
            half = width / (2 * (places[index - 1] - places[index]))  # 1 / (2 r), equation 12
            slope = (1 + half) * predicted - half * before
        state = (-width).exp() * state - torch.expm1(-width) * slope
        before = predicted
    return predict(state, places[-1]) if len(places) > 1 else before


def read(grid: Tensor, values: Tensor, place: Tensor) -> Tensor:
    """Rows `values` [n, ...] at the rising `grid` [n], read at one place, straight between neighbours and beyond the ends."""
    right = int(torch.searchsorted(grid, place.detach()).clamp(1, len(grid) - 1))
    return torch.lerp(values[right - 1], values[right], (place - grid[right - 1]) / (grid[right] - grid[right - 1]))


def error(found: Tensor, expected: Tensor) -> Tensor:
    """Square error against the square of what was expected, in dB, over the last dimension: [..., values] -> [...]"""
    return 10 * ((found - expected).square().mean(-1) / expected.square().mean(-1)).log10()
