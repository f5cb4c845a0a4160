"""Examples by position: every clip once an epoch, the same for any number of processes, all randomness in its range."""

import pickle
from collections import Counter
from itertools import pairwise

import pytest
import torch
from cinemo_pack.cinemo_core.training.batches import Collate, Examples, Order, Positions
from cinemo_pack.cinemo_core.training.config import Objective
from cinemo_pack.cinemo_core.training.frozen import Tokenizer
from cinemo_pack.cinemo_core.training.latents import Measured
from torch.utils.data import DataLoader


class Numbered:
    """Clip i is a latent of i, its SSIM 0.8 + i / 100."""

    def __len__(self) -> int:
        return 10

    def clip(self, index: int, draw: int) -> Measured:
        return Measured(torch.full((4, 4, 2, 2), float(index)), 0.8 + index / 100, f"clip {index}")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_every_epoch_visits_every_clip_once(count):
    positions = Order(count, 5)
    orders = [[positions[epoch * count + i] for i in range(count)] for epoch in range(3)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    if count > 10:
        assert orders[0] != orders[1] != orders[2]
        assert orders[0] != [Order(count, 6)[i] for i in range(count)]


def test_the_order_is_well_mixed():
    """Neighbours land far from each other, and no clip is bound to a place."""
    positions = Order(1000, 0)
    distances = [abs(a - b) for a, b in pairwise(positions[i] for i in range(1000))]
    assert sum(distances) / len(distances) == pytest.approx(1000 / 3, rel=0.1)
    positions = Order(100, 0)
    firsts = [positions[epoch * 100] for epoch in range(2000)]
    assert len(set(firsts)) == 100
    assert max(Counter(firsts).values()) < 60


def test_the_order_does_not_depend_on_what_was_asked_before():
    """A resumed run starts in the middle of an epoch, a worker asks for every third position."""
    positions = Order(50, 3)
    whole = [positions[i] for i in range(200)]
    assert [Order(50, 3)[i] for i in range(170, 200)] == whole[170:]
    backwards = Order(50, 3)
    assert [backwards[i] for i in reversed(range(200))] == whole[::-1]
    assert [pickle.loads(pickle.dumps(positions))[i] for i in range(0, 200, 3)] == whole[::3]


def examples(seed: int = 1, positions: int = 4000, **objective) -> Examples:
    return Examples(Numbered(), Objective(**objective), (4, 4, 2, 2), seed, positions)


def test_what_is_drawn_for_an_example():
    drawn = [examples()[p] for p in range(4000)]
    dropped = sum(e.caption == "" for e in drawn) / len(drawn)
    assert dropped == pytest.approx(0.5, abs=0.04)
    timesteps = torch.tensor([e.timestep for e in drawn])
    assert (timesteps.min(), timesteps.max()) <= (5, 999) and timesteps.max() >= 995
    assert timesteps.double().mean().item() == pytest.approx(499.5, abs=20)
    noise = torch.stack([e.noise for e in drawn])
    assert noise.shape == (4000, 3, 4, 2, 2)
    assert (noise.mean().item(), noise.std().item()) == pytest.approx((0.0, 1.0), abs=0.01)
    assert all(e.motion_id == 80 + int(e.clip[0, 0, 0, 0]) for e in drawn[:50])
    assert all(e.caption in ("", f"clip {int(e.clip[0, 0, 0, 0])}") for e in drawn)


def test_switches():
    assert {e.caption for e in (examples(text_dropout=1.0)[p] for p in range(50))} == {""}
    assert "" not in {e.caption for e in (examples(text_dropout=0.0)[p] for p in range(50))}
    assert {e.motion_id for e in (examples(motion="none")[p] for p in range(50))} == {99}


def test_a_share_of_the_examples_is_drawn_from_the_noisiest_quarter():
    """The others stay as they are."""
    usual, high, half = ([examples(high_noise=share)[p].timestep for p in range(2000)] for share in (0.0, 1.0, 0.5))
    assert min(high) == 750 and max(high) == 999
    assert sum(high) / len(high) == pytest.approx(874.5, abs=5)
    assert sum(a != b for a, b in zip(usual, half, strict=True)) / 2000 == pytest.approx(0.5, abs=0.04)
    assert all(a in (b, c) for a, b, c in zip(half, usual, high, strict=True))


def test_noise_offset_moves_whole_frames():
    plain = torch.stack([examples()[p].noise for p in range(3000)])
    offset = torch.stack([examples(noise_offset=0.5)[p].noise for p in range(3000)])
    assert torch.allclose((offset - plain).std((3, 4)), torch.zeros(3000, 3, 4), atol=1e-6)
    assert (offset - plain)[..., 0, 0].std().item() == pytest.approx(0.5, abs=0.01)


def test_a_position_is_the_same_for_whoever_asks():
    assert torch.equal(examples()[17].noise, examples(positions=20)[17].noise)
    assert not torch.equal(examples()[17].noise, examples(seed=2)[17].noise)
    assert not torch.equal(examples()[17].noise, examples()[18].noise)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_processes_and_workers_share_the_positions(tokenizer_folder, processes, workers):
    """Accelerate's sharding: together, the batches of a step hold the positions of that step."""
    from accelerate.data_loader import prepare_data_loader

    start, per_step = 24, 2 * processes
    seen = []
    for process in range(processes):
        loader = DataLoader(
            examples(positions=start + 4 * per_step),
            batch_size=2,
            sampler=Positions(start, start + 4 * per_step),
            collate_fn=Collate(Tokenizer(str(tokenizer_folder))),
            num_workers=workers,
        )
        shard = prepare_data_loader(loader, num_processes=processes, process_index=process, rng_types=[])
        seen.append([batch.noise for batch in shard])
    for step in range(4):
        found = torch.cat([noises[step] for noises in seen])
        expected = torch.stack([examples()[start + step * per_step + i].noise for i in range(per_step)])
        assert torch.equal(found, expected)


def test_tokens(tokenizer_folder):
    collate = Collate(Tokenizer(str(tokenizer_folder)))
    batch = collate([examples(text_dropout=d)[3] for d in (0.0, 1.0)])
    assert batch.tokens.shape == (2, 77)
    assert batch.tokens[:, 0].tolist() == [49406, 49406]
    assert batch.tokens[1, 1:].tolist() == [49407] * 76
    assert 49407 not in batch.tokens[0, 1:6].tolist()
    assert batch.clip.shape == (2, 4, 4, 2, 2)
