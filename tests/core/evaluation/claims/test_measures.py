"""What the claims are measured with, on clips whose motion is known."""

import numpy as np
import pytest
from cinemo_pack.cinemo_core.evaluation.claims.direction import DIRECTIONS, direction_of, read_direction
from cinemo_pack.cinemo_core.evaluation.claims.flow import global_motion, local_shift
from cinemo_pack.cinemo_core.evaluation.claims.measures import colour_shift, identity, largest_jump, sign_test, spearman, unrest
from scipy.ndimage import gaussian_filter, map_coordinates

SIZE = 64
CENTRE = (SIZE - 1) / 2


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = np.random.default_rng(0).random((SIZE, SIZE, 3))
    smooth = gaussian_filter(noise, (1.5, 1.5, 0), mode="wrap")
    return 255 * (smooth - smooth.min()) / (smooth.max() - smooth.min())


def moved(texture: np.ndarray, right=0.0, down=0.0, scale=1.0, clockwise=0.0) -> np.ndarray:
    """The texture after a motion: what is seen at a pixel comes from where the motion took it from."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] - CENTRE
    x, y = (x - right) / scale, (y - down) / scale
    x, y = x * np.cos(clockwise) + y * np.sin(clockwise), y * np.cos(clockwise) - x * np.sin(clockwise)
    return np.stack([map_coordinates(c, [y + CENTRE, x + CENTRE], order=1, mode="grid-wrap") for c in np.moveaxis(texture, -1, 0)], -1)


def clip(texture: np.ndarray, frames: int = 4, **speed) -> np.ndarray:
    steps = [{k: v**t if k == "scale" else v * t for k, v in speed.items()} for t in range(frames)]
    return np.round([moved(texture, **step) for step in steps]).astype(np.uint8)


@pytest.mark.parametrize(
    ("speed", "direction"),
    [
        ({"right": 1.0}, "right"),
        ({"right": -1.0}, "left"),
        ({"down": 1.0}, "down"),
        ({"down": -1.0}, "up"),
        ({"scale": 1.04}, "outwards"),
        ({"scale": 0.96}, "inwards"),
        ({"clockwise": 0.04}, "clockwise"),
        ({"clockwise": -0.04}, "counterclockwise"),
    ],
)
def test_the_direction_of_a_known_motion_is_read(texture, speed, direction):
    assert read_direction(clip(texture, **speed), None) == direction


def test_the_amount_of_a_known_motion_is_read(texture):
    motion = global_motion(clip(texture, right=1.0, down=-0.5))
    assert motion.right == pytest.approx(3.0, abs=0.3) and motion.down == pytest.approx(-1.5, abs=0.3)
    assert abs(motion.outwards) < 0.3 and abs(motion.clockwise) < 0.3


def test_a_thing_is_followed_through_a_still_picture(texture):
    frames = np.stack([texture] * 6).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[20:36, 10:26] = True
    for t, frame in enumerate(frames):
        frame[20:36, 10 + 2 * t : 26 + 2 * t] = texture[40:56, 40:56]
    right, down = local_shift(frames, mask)
    assert right == pytest.approx(10, abs=2) and abs(down) < 1
    assert read_direction(frames, mask) == "right"


def test_every_caption_of_a_direction_has_one_and_a_camera_moves_against_its_picture():
    assert direction_of("the camera pans left") == "right" and direction_of("the red ball moves left") == "left"
    assert direction_of("the camera rolls counterclockwise") == "clockwise"
    assert len(set(DIRECTIONS.values())) == 8


def test_identity_forgives_motion_and_not_loss(texture):
    image = texture.astype(np.uint8)
    shifted = clip(texture, right=1.5)[1:]
    blurred = np.stack([gaussian_filter(frame, (1.5, 1.5, 0)) for frame in shifted])
    other = np.stack([np.rot90(image).copy()] * 3)
    assert identity(np.stack([image] * 3), image) > 60
    assert identity(shifted, image) > identity(blurred, image) + 3 > identity(other, image) + 3


def test_the_colour_shift_forgives_motion_and_sees_a_tint_that_keeps_the_mean(texture):
    frames = clip(texture, right=1.5)
    tint = np.linspace(-30, 30, SIZE)[:, None]  # x c
    tinted = np.stack([np.clip(frame + tint, 0, 255) for frame in frames[1:].astype(float)]).astype(np.uint8)
    untinted = colour_shift(frames[1:], frames[0])
    assert untinted < 5
    assert colour_shift(tinted, frames[0]) > untinted + 15


def test_jump_colour_and_unrest_are_what_they_say():
    fade = np.stack([np.full((8, 8, 3), 10 * t, np.uint8) for t in range(5)])
    assert largest_jump(fade) == pytest.approx(10) and unrest(fade) == 0
    assert colour_shift(fade, fade[0]) == pytest.approx(20 * 3**0.5)
    fade[3:] += 50
    assert largest_jump(fade) == pytest.approx(60)
    assert unrest(fade) == pytest.approx((0 + 50**2 + 50**2) / 3)


def test_statistics():
    assert spearman(np.arange(10), np.arange(10) ** 2) == pytest.approx(1.0)
    assert spearman(np.arange(10), np.full(10, 7)) == 0
    assert sign_test(np.ones(10)) == pytest.approx(0.5**10)
    assert sign_test(np.array([1.0, -1.0, 0.0])) == pytest.approx(0.75)
    assert sign_test(np.zeros(3)) == 1.0
