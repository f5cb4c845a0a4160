"""Schedule, sampler and context windows against those of the re-implementation."""

from itertools import pairwise

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.animate_anyone.ddim import sample
from cinemo_pack.cinemo_core.models.animate_anyone.schedule import BETAS, LINEAR, SCALED_LINEAR, alphas_cumprod, reference_steps
from cinemo_pack.cinemo_core.models.animate_anyone.windows import average, check_windows, looped_windows, open_windows
from cinemo_pack.tests.goldens import load, meta

META = meta("animate_anyone/schedule")
WINDOWS = META["windows"]


def test_alphas():
    golden = load("animate_anyone/schedule")
    assert (alphas_cumprod(LINEAR) - golden["alphas_cumprod.float64"]).abs().max() <= 1e-12
    assert (alphas_cumprod(SCALED_LINEAR) - golden["alphas_cumprod.scaled_linear"].double()).abs().max() <= 1e-5
    assert all(alphas_cumprod(betas)[-1] == 0 for betas in BETAS)


def test_unknown_betas_are_refused():
    with pytest.raises(InputError, match="The betas are 'cosine'; choose one of linear, scaled_linear"):
        alphas_cumprod("cosine")


@pytest.mark.parametrize("steps", META["timesteps"])
def test_steps(steps):
    facts = META["timesteps"][steps]
    found = reference_steps(int(steps))
    assert [timestep for timestep, _ in found] == facts["timesteps"]
    assert [-1 if target is None else target for _, target in found] == facts["alpha_index_stepped_to"]


@pytest.mark.parametrize("steps", META["stub"])
def test_sampler(steps):
    golden, run = load("animate_anyone/schedule"), reference_steps(int(steps))

    def predict(x: torch.Tensor, i: int) -> torch.Tensor:
        return torch.tanh(0.5 * x + 0.3 * torch.cos(torch.tensor(run[i][0] / 100)))

    found, expected = sample(predict, golden["stub.initial_noise"], run, alphas_cumprod().float()), golden[f"stub.out.{steps}"]
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    print(steps, error.item())
    assert error <= 1e-6


def settings(name: str) -> list[int]:
    """Frames, length, stride, overlap."""
    return [int(part.strip("Fcso")) for part in name.split(".")]


@pytest.mark.parametrize("name", WINDOWS)
def test_looped_windows(name):
    facts, (frames, length, stride, overlap) = WINDOWS[name], settings(name)
    found = looped_windows(frames, length, overlap, stride)
    assert [window[0] for window in found] == facts["starts"]
    assert {len(window) for window in found} == {facts["length"]}
    assert facts["windows"] in (None, found)
    covered = [sum(frame in window for window in found) for frame in range(frames)]
    assert facts["times_covered"] in (covered, [min(covered), max(covered)])  # of long clips only these were recorded


@pytest.mark.parametrize(("frames", "length", "overlap"), [(24, 24, 4), (25, 24, 4), (48, 24, 4), (300, 24, 4), (7, 3, 2), (9, 4, 0)])
def test_open_windows_hold_every_frame_and_never_wrap(frames, length, overlap):
    found = open_windows(frames, length, overlap)
    assert {frame for window in found for frame in window} == set(range(frames))
    assert all(window == list(range(window[0], window[0] + length)) for window in found)
    assert all(before[-1] - after[0] + 1 >= overlap for before, after in pairwise(found))
    assert len(found) == max(1, -(-(frames - overlap) // (length - overlap)))


def test_predictions_are_averaged_over_the_windows_of_a_frame():
    predictions = [torch.tensor([1.0, 2.0]), torch.tensor([4.0, 7.0]), torch.tensor([3.0, 9.0])]
    assert average(predictions, [[0, 1], [1, 2], [0, 0]], 3).tolist() == [5.0, 3.0, 7.0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((33, 4, 1, 32), "Windows of 33 frames were asked for, but the motion modules know 32 positions; choose 1 to 32 frames"),
        ((24, 24, 1, 32), "Windows of 24 frames cannot overlap by 24; choose 0 to 23"),
        ((24, 4, 0, 32), "The stride of the windows is 0"),
    ],
)
def test_windows_that_cannot_be_made_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        check_windows(*settings)
