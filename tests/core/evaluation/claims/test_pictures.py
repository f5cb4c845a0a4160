"""Nano's bars, on clips that keep their picture and on clips that do not."""

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.claims import pictures
from cinemo_pack.cinemo_core.evaluation.claims.cases import Case
from cinemo_pack.cinemo_core.evaluation.claims.pictures import Pictures, each_way, held_out_stills, kept_to_the_end, real_motion
from cinemo_pack.cinemo_core.evaluation.detail import Clip
from cinemo_pack.cinemo_core.training.nano.camera_clips import Still
from cinemo_pack.cinemo_core.training.nano.camera_share import Watched, watched_clips
from cinemo_pack.cinemo_core.training.nano.templates import is_held_out

SIZE, FRAMES, SPEED = 64, 16, 1


def wide(seed: int) -> np.ndarray:
    """A picture of soft spots, larger than the view on every side."""
    side = SIZE + 2 * FRAMES * SPEED
    spots = torch.rand(1, 3, side // 6, side // 6, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(spots, size=(side, side), mode="bicubic").clamp(0, 1)[0]
    return (large * 255).byte().permute(1, 2, 0).numpy()


def view(seed: int, right: int, down: int) -> np.ndarray:
    top, left = FRAMES * SPEED + down, FRAMES * SPEED + right
    return wide(seed)[top : top + SIZE, left : left + SIZE]


STILLS = Pictures(list("abcd"), [view(seed, 0, 0) for seed in range(4)], [])
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


MASK = np.zeros((SIZE, SIZE), dtype=bool)
MASK[20:44, 20:44] = True


def moving(task, sign: int) -> np.ndarray:
    """A clip whose picture goes `sign` times the way that its caption ends in."""
    x, y = WAYS[task.caption.rpartition(" ")[2]]
    seed = next(seed for seed in range(6) if np.array_equal(view(seed, 0, 0), task.image))
    return np.stack([view(seed, -sign * i * x, -sign * i * y) for i in range(FRAMES)])


def follows(sign: int):
    """Clips whose camera goes `sign` times as their caption asks; a still's number is its seed."""

    def clips(_, tasks):
        ways = [WAYS[task.caption.rpartition(" ")[2]] for task in tasks]
        return [np.stack([view(t.seed, sign * i * x, sign * i * y) for i in range(FRAMES)]) for t, (x, y) in zip(tasks, ways, strict=True)]

    return clips


def test_a_picture_that_moves_as_asked_and_lasts_passes():
    row = kept_to_the_end(None, STILLS, follows(1))
    assert row.passed, row.result
    assert "moved as asked by 2" in row.result, row.result  # 15 of 64 pixels


@pytest.mark.parametrize("sign", [0, -1])
def test_a_picture_that_stands_still_or_goes_the_other_way_fails(sign):
    assert not kept_to_the_end(None, STILLS, follows(sign)).passed


def test_a_picture_that_dissolves_fails():
    def clips(who, tasks):
        noise = np.random.default_rng(0).normal(0, 40, (FRAMES, SIZE, SIZE, 3)) * np.arange(FRAMES)[:, None, None, None] / FRAMES
        return [np.clip(clip + noise, 0, 255).astype(np.uint8) for clip in follows(1)(who, tasks)]

    assert not kept_to_the_end(None, STILLS, clips).passed


def test_clips_made_in_the_buckets_of_real_ones_pass_and_others_fail(monkeypatch):
    real = [np.stack([view(seed, seed * i // 5, 0) for i in range(FRAMES)]) for seed in range(5)]
    monkeypatch.setattr(
        pictures, "held_out_clips", lambda frames, apart: (Clip(str(i), torch.from_numpy(clip) / 255) for i, clip in enumerate(real))
    )
    row = real_motion(None, SIZE, 5, lambda _, tasks: [real[task.seed] for task in tasks])
    assert row.passed and row.result.startswith("1.00 of 5 clips, buckets 0 to ")
    assert not real_motion(None, SIZE, 5, lambda _, tasks: [real[-task.seed] for task in tasks]).passed
    with pytest.raises(InputError, match="1 held-out template clips can be used; at least 2"):
        real_motion(None, SIZE, 1, lambda _, tasks: [])


def test_every_way_has_a_bar_of_its_own():
    """All cameras right and one of four things wrong misses the bar of things, and no other."""
    camera = [Case(view(seed, 0, 0), f"the camera {way}", 10, None, "") for seed, way in enumerate(("pans left", "tilts down"))]
    things = [
        Case(view(seed, 0, 0), f"the red ball moves {way}", 10, MASK, "") for seed, way in enumerate(("left", "right", "left", "right"))
    ]

    def obey(_, tasks):
        return [moving(task, -1 if "camera" in task.caption else 1) for task in tasks]

    def obey_but_for_one(_, tasks):
        return [*obey(None, tasks)[:-1], moving(tasks[-1], -1)]

    assert each_way(None, camera + things, obey).passed
    row = each_way(None, camera + things, obey_but_for_one)
    assert not row.passed and row.result == "pans 100%, tilts 100%, things 75% of 6 clips"


def test_only_held_out_stills_are_measured_on():
    found = held_out_stills(SIZE, 3)
    assert len(found.names) == 3 and all(map(is_held_out, found.names))
    assert all(picture.shape == (SIZE, SIZE, 3) for picture in found.square)
    with pytest.raises(InputError, match="None of the held-out template pictures is 100000 pixels"):
        held_out_stills(100_000, 1)


def test_pictures_too_small_for_a_move_are_named():
    still = Still("small", torch.zeros(4, 8, 8), torch.zeros(3, 64, 64, dtype=torch.uint8))
    with pytest.raises(InputError, match="No picture is large enough for a camera move over 24 latents"):
        watched_clips([still], Watched(24, 1))
