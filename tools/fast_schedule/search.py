"""The search for a schedule: where DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) errs least along known trajectories.

Running the network for every schedule that is tried would take days, and its gradient more. Here it is replaced by what it
predicted along a fine run, read at any noise level, and pulled by the state's error as data of unit variance would pull it:
D(x) = D* + (x - x*) / (1 + sigma^2). With that, a whole run is a few sums, and Adam finds the schedule in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDS, RATE = 200, 0.05


@dataclass(frozen=True)
class Trajectory:
    """A fine run of some clips, from clean to noisy.

    log_sigmas: [n], rising. states, predictions: [n, values], what the network saw there and predicted. result: [values].
    """

    log_sigmas: Tensor
    states: Tensor
    predictions: Tensor
    result: Tensor


def search(steps: int, trajectories: Sequence[Trajectory], table: Tensor, rounds: int = ROUNDS) -> tuple[int, ...]:
    """Timesteps of `steps` evaluations, from noisy to clean, with the least mean error in dB over the trajectories.

    table: logarithms of the sigmas of the timesteps, [1000]. The first evaluation is at the last timestep. No chance is involved.
    """
    widths = torch.zeros(steps, requires_grad=True)
    optimizer = torch.optim.Adam([widths], RATE)
    places = spaced(widths, table)
    for _ in range(rounds):
        places = spaced(widths, table)
        loss = torch.stack([error(surrogate_run(places, trajectory), trajectory.result) for trajectory in trajectories]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return timesteps(places.detach(), table)


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


def surrogate_run(places: Tensor, trajectory: Trajectory) -> Tensor:
    """What the solver ends in, [values], from the trajectory's own start."""

    def predict(state: Tensor, place: Tensor) -> Tensor:
        predicted = read(trajectory.log_sigmas, trajectory.predictions, place)
        if state is start:
            return predicted
        return predicted + (state - read(trajectory.log_sigmas, trajectory.states, place)) / (1 + (2 * place).exp())

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
    """Square error against the square of what was expected, in dB."""
    return 10 * ((found - expected).square().mean() / expected.square().mean()).log10()
