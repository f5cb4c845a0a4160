"""The numbers of the motion report, on clips whose numbers are known."""

import json

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion.report import MotionReport, report_clip
from cinemo_pack.cinemo_core.motion.ssim import ssim
from cinemo_pack.cinemo_core.resize import resize_image

HEIGHT, WIDTH = 24, 32


def nothing(done: int, total: int) -> None:
    pass


def report(clip: torch.Tensor, first_image: torch.Tensor | None = None, resize: str = "cover", progress=nothing) -> MotionReport:
    return report_clip(clip, first_image, resize, progress)


def noise(seed: int, frames: int, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> torch.Tensor:
    return torch.rand(frames, height, width, channels, generator=torch.Generator().manual_seed(seed))


def plain(*colours: tuple[float, float, float]) -> torch.Tensor:
    """A clip of frames of one colour each."""
    return torch.tensor(colours, dtype=torch.float64)[:, None, None].expand(-1, HEIGHT, WIDTH, -1)


def test_a_still_clip_has_no_distance_energy_or_drift():
    found = report(noise(0, 1).repeat(4, 1, 1, 1))
    assert found.distance == found.residual_energy == (0.0,) * 4
    assert found.colour_drift == ((0.0, 0.0, 0.0),) * 4
    assert found.score.pairs == (1.0,) * 3 and found.score.bucket == 0


def test_plain_colours_give_known_numbers():
    found = report(plain((0.2, 0.4, 0.6), (0.3, 0.4, 0.5), (0.5, 0.4, 0.6)))
    assert found.residual_energy == pytest.approx((0.0, (0.1**2 + 0.1**2) / 3, 0.3**2 / 3))
    for frame, drift in enumerate(((0.0, 0.0, 0.0), (0.1, 0.0, -0.1), (0.3, 0.0, 0.0))):
        assert found.colour_drift[frame] == pytest.approx(drift, abs=1e-12)

    def similarity(before: tuple, after: tuple) -> float:
        """SSIM of plain colours: there is no variance, only the luminance term is left."""
        return sum((2 * a * b + 1e-4) / (a * a + b * b + 1e-4) for a, b in zip(before, after, strict=True)) / 3

    assert found.distance[1] == pytest.approx(1 - similarity((0.2, 0.4, 0.6), (0.3, 0.4, 0.5)))
    assert found.distance[2] == pytest.approx(1 - similarity((0.2, 0.4, 0.6), (0.5, 0.4, 0.6)))
    assert found.score.pairs[1] == pytest.approx(similarity((0.3, 0.4, 0.5), (0.5, 0.4, 0.6)))


def test_every_frame_is_compared_with_the_first_and_with_the_one_before():
    clip = noise(1, 4)
    found = report(clip)
    assert list(found.distance) == [1 - ssim(clip[0], frame) for frame in clip]
    assert list(found.score.pairs) == [ssim(clip[i], clip[i + 1]) for i in range(3)]
    assert (found.score.width, found.score.height, found.score.frame_stride) == (WIDTH, HEIGHT, 1)
    assert list(found.residual_energy) == pytest.approx([float(((frame - clip[0]) ** 2).mean()) for frame in clip])


def test_the_first_image_replaces_frame_0():
    clip, image = noise(2, 3), noise(3, 1)
    found = report(clip, image)
    assert list(found.distance) == [1 - ssim(image[0], frame) for frame in clip] and found.distance[0] > 0.1
    assert found.score == report(clip).score
    assert report(clip, torch.cat([image, noise(4, 2)])) == found, "of a batch the first"


@pytest.mark.parametrize("resize", ["cover", "reference", "stretch", "pad"])
def test_a_first_image_of_another_size_is_brought_to_the_clips(resize):
    clip, image = noise(5, 3), noise(6, 1, 70, 50, 4)
    expected = resize_image(image, WIDTH, HEIGHT, resize)[0]
    assert list(report(clip, image, resize).distance) == [1 - ssim(expected, frame) for frame in clip]


def test_alpha_and_values_out_of_range_are_left_out():
    clip = noise(7, 3)
    assert report(torch.cat([clip, torch.rand(3, HEIGHT, WIDTH, 1)], dim=-1)) == report(clip)
    assert report(2 * clip - 0.5) == report((2 * clip - 0.5).clamp(0, 1))


def test_json_holds_the_same_numbers():
    found = report(noise(8, 3))
    text = found.to_json()
    assert len(text.splitlines()) == 12, "a line per name, for people"
    assert json.loads(text) == {
        "frames": 3,
        "width": WIDTH,
        "height": HEIGHT,
        "mean_ssim": pytest.approx(found.score.ssim, abs=1e-6),
        "motion_id": found.score.motion_id,
        "motion_bucket": found.score.bucket,
        "ssim_of_pairs": pytest.approx(list(found.score.pairs), abs=1e-6),
        "distance_to_first": pytest.approx(list(found.distance), abs=1e-6),
        "residual_energy": pytest.approx(list(found.residual_energy), abs=1e-6),
        "colour_drift": {
            name: pytest.approx([drift[channel] for drift in found.colour_drift], abs=1e-6)
            for channel, name in enumerate(("red", "green", "blue"))
        },
    }


def test_json_is_plain_for_a_still_clip():
    text = report(plain((0.3, 0.3, 0.3)).repeat(2, 1, 1, 1)).to_json()
    assert "-0.0" not in text and "NaN" not in text and json.loads(text)["motion_bucket"] == 0


def test_progress_counts_frames_and_can_stop():
    seen = []
    report(noise(9, 3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        report(noise(9, 3), progress=stop)
    assert seen == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": noise(0, 1)}, "1 frame"),
        ({"clip": torch.zeros(0, 24, 32, 3)}, "empty"),
        ({"clip": torch.full((3, 24, 32, 3), float("nan"))}, "NaN"),
        ({"clip": noise(0, 3, 8, 32)}, "32x8; SSIM needs at least 11 pixels"),
        ({"first_image": torch.zeros(0, 24, 32, 3)}, "empty"),
        ({"first_image": torch.zeros(24, 32, 3)}, "expected \\[batch"),
        ({"first_image": torch.full((1, 24, 32, 3), float("inf"))}, "infinite"),
        ({"first_image": noise(0, 1), "resize": "squeeze"}, "'squeeze'; choose one of"),
    ],
)
def test_bad_input(change, message):
    def no_step(done: int, total: int) -> None:
        pytest.fail("work had begun")

    with pytest.raises(InputError, match=message):
        report(**({"clip": noise(0, 3), "progress": no_step} | change))
