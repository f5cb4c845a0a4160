"""The learning rate belongs to the step's number, whatever a checkpoint brought."""

import pytest
import torch
from cinemo_pack.cinemo_core.training.nano.rates import Rates, share_of_rate


def test_it_rises_stays_and_falls_to_nothing():
    shares = [share_of_rate(step, 100, 10, 0.2) for step in range(101)]
    assert shares[0] == pytest.approx(0.1) and shares[9:81] == [1.0] * 72
    assert shares[90] == pytest.approx(0.5) and shares[100] == 0


def test_a_resumed_run_takes_its_own_rate():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=0.5)
    saved = optimizer.state_dict()
    optimizer = torch.optim.AdamW([weight], lr=0.2)
    rates = Rates([optimizer])
    optimizer.load_state_dict(saved)
    rates.set(0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
