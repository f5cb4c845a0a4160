"""The claims, judged on clips that do what is asked and on clips that do not."""

import re

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.evaluation.claims import claims, figure
from cinemo_pack.cinemo_core.evaluation.claims.__main__ import table
from cinemo_pack.cinemo_core.evaluation.claims.cases import Case, bucket_cases, camera_cases, held_out_photographs, thing_cases
from cinemo_pack.cinemo_core.motion.buckets import ssim_range
from cinemo_pack.cinemo_core.training.nano.procedural.clip import to_uint8
from cinemo_pack.cinemo_core.training.nano.procedural.dice import Dice
from cinemo_pack.cinemo_core.training.nano.procedural.scenes import Setting, camera
from cinemo_pack.cinemo_core.training.sampling import refine

SIZE = 32


def scene_clip(seed: int, strength: float) -> np.ndarray:
    scene = camera(Setting(Dice(seed), SIZE, SIZE, ()))
    return to_uint8(scene.paint(torch.arange(16.0), strength)).permute(0, 2, 3, 1).numpy()


def noisy(image: np.ndarray, amount: float, seed: int, frames: int = 6) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, amount, (frames, *image.shape))
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def still() -> list[Case]:
    return [Case(scene_clip(seed, 0.0)[0], "the camera pans left", 10, None, str(seed)) for seed in range(3)]


def with_score(image: np.ndarray, bucket: int, seed: int) -> np.ndarray:
    """A clip of this bucket: noise of the amount that gives its SSIM, found by halving."""
    target, low, high = sum(ssim_range(min(max(bucket, 1), 18))) / 2, 0.0, 60.0
    for _ in range(12):
        amount = (low + high) / 2
        score = claims.mean_ssim(torch.from_numpy(noisy(image, amount, seed)).permute(0, 3, 1, 2))
        low, high = (amount, high) if score > target else (low, amount)
    return noisy(image, amount, seed)


def test_buckets_that_are_obeyed_pass_and_others_fail(still):
    def obeys(_, tasks):
        return [with_score(task.image, task.bucket, task.seed) for task in tasks]

    def ignores(_, tasks):
        return [with_score(task.image, 7 * task.bucket % 20, task.seed) for task in tasks]

    ranked, error = claims.bucket_control(None, still[:1], obeys)
    assert ranked.passed and error.passed and len(ranked.values) == 20
    ranked, error = claims.bucket_control(None, still[:1], ignores)
    assert not ranked.passed and not error.passed


def test_the_rank_on_one_picture_is_kept_apart_from_the_rank_over_all(still):
    def obeys_from_another_start(_, tasks):
        return [with_score(task.image, task.bucket // 2 + (9 if task.seed else 0), task.seed) for task in tasks]

    ranked, _ = claims.bucket_control(None, still[:2], obeys_from_another_start)
    rank, within = map(float, re.findall(r"0\.\d{3}", ranked.result))
    assert rank < 0.9 < within and not ranked.passed


def test_captions_that_are_obeyed_pass_and_others_fail():
    captions = {seed: camera(Setting(Dice(seed), SIZE, SIZE, ())).caption for seed in range(40, 48)}
    cases = [Case(scene_clip(seed, 0.0)[0], caption, 10, None, str(seed)) for seed, caption in captions.items()]
    (row,) = claims.text_control(None, cases, lambda _, tasks: [scene_clip(40 + task.seed, 0.3) for task in tasks])
    assert row.passed
    (row,) = claims.text_control(None, cases, lambda _, tasks: [scene_clip(40 + task.seed, 0.3)[::-1].copy() for task in tasks])
    assert not row.passed and row.result.endswith("of 8")


def test_consistency_is_judged_by_pairs(still):
    def clips(who, tasks):
        return [noisy(task.image, 2.0 if who == "good" else 12.0, task.seed) for task in tasks]

    cases = still * 2
    (row,) = claims.consistency("good", "bad", cases, 2, clips)
    assert row.passed and "residual better on 6 of 6" in row.result and "(asked for 10.0)" in row.result
    for residual, direct in (("bad", "good"), ("good", "good")):
        (row,) = claims.consistency(residual, direct, cases, 2, clips)
        assert not row.passed


def test_the_noises_of_a_picture_count_once(still):
    """Each picture is worse with one noise of three, but better in the mean."""
    seen = {}

    def clips(who, tasks):
        seen[who] = [(task.image.tobytes(), task.seed) for task in tasks]
        worse = [task.seed < 3 if who == "residual" else task.seed >= 3 for task in tasks]
        return [noisy(task.image, 12.0 if bad else 2.0, task.seed) for task, bad in zip(tasks, worse, strict=True)]

    (row,) = claims.consistency("residual", "direct", still, 3, clips)
    assert seen["residual"] == seen["direct"] and len({seed for _, seed in seen["residual"]}) == 9
    assert len(row.values["residual"]) == len(still) and "better on 3 of 3" in row.result


def test_initial_noises_are_compared_on_the_same_seeds(still):
    def clips(_, tasks):
        worse = {"dctinit": 0.0, "none": 6.0, "fftinit": 3.0}
        return [noisy(task.image, 2.0 + worse[task.initial_noise], task.seed) for task in tasks]

    jump, colour, smooth = claims.initial_noise(None, still, clips)
    assert jump.passed and smooth.passed and set(colour.values) == {"dctinit", "none", "fftinit"}
    assert "3 of 3 below none, 3 of 3 below fftinit" in jump.result


def test_initial_noises_differ_on_small_latents(still):
    tasks = []
    claims.initial_noise(None, still, lambda _, some: tasks.extend(some) or [task.image[None].repeat(3, 0) for task in some])
    side = SIZE // 8
    generator = torch.Generator().manual_seed(0)
    z0, noise = (torch.randn(*shape, side, side, generator=generator) for shape in ((4,), (15, 4)))
    made = [refine(z0, noise, name, tasks[0].cutoff, tasks[0].noise_level) for name in ("dctinit", "none", "fftinit")]
    assert len({task.cutoff for task in tasks}) == 1
    assert all((made[i] - made[j]).abs().max() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_the_table_and_the_figure_show_every_row(still):
    rows = claims.initial_noise(None, still, lambda _, tasks: [noisy(task.image, 2.0, task.seed) for task in tasks])
    text = table(rows)
    assert text.count("\n") == 1 + len(rows) and all(row.measure in text for row in rows)
    assert figure.draw_claims(rows).size == figure.SIZE


def test_the_figure_shows_what_the_first_way_gains():
    higher = claims.Row("", claims.IDENTITY, "", "", True, {"residual": [20.0, 18.0, 17.0], "direct": [19.0, 18.5, 14.0]})
    lower = claims.Row("", "jump", "", "", True, {"dctinit": [1.0, 2.0], "none": [3.0, 1.5], "fftinit": [1.0, 2.0]})
    assert [line.values for line in figure.paired_panel(higher).lines] == [[3.0, 1.0, -0.5]]
    assert [line.values for line in figure.paired_panel(lower).lines] == [[2.0, -0.5], [0.0, 0.0]]


def test_cases_are_fixed_and_move_as_their_captions_say():
    first, again = thing_cases(SIZE, 1), thing_cases(SIZE, 1)
    assert [case.name for case in first] == [case.name for case in again] and len(first) == 4
    assert all(case.mask is not None and case.mask.any() and case.bucket > 0 for case in first)
    photographs = [name for name, _ in held_out_photographs(SIZE)]
    assert {"astronaut", "chelsea", "coffee"} <= set(photographs)
    cameras = camera_cases(SIZE, 1)
    assert len(cameras) == 6 and all(case.image.shape == (SIZE, SIZE, 3) and case.image.dtype == np.uint8 for case in cameras)


def test_buckets_are_asked_of_pictures_that_can_have_them_all(still):
    plain = still[0]._replace(name="plain", reach=4)
    assert [case.name for case in bucket_cases([plain, *still, plain], 2)] == ["0", "1"]
    assert [case.name for case in bucket_cases([plain, *still], 20)] == ["0", "1", "2"]
