"""The pictures that the claims are shown on, and what is asked of each: fixed, and never seen in training.

Nano's training draws procedural scenes of seeds below TRAINING_SEEDS, and the photographs of its recipe; the cases are scenes
of seeds from TRAINING_SEEDS on, and other photographs, which scikit-image and ComfyUI carry.
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...media.pictures import read_picture
from ...motion.buckets import BUCKETS, bucket_of_motion_id, motion_id_of_ssim
from ...training.nano.procedural import TRAINING_SEEDS
from ...training.nano.procedural.clip import score, to_uint8
from ...training.nano.procedural.dice import Dice
from ...training.nano.procedural.scenes import CAMERA, Scene, Setting, camera, drifting_clouds, moving_thing
from .animate import FRAMES
from .direction import direction_of, read_direction

MIDDLING = 0.5  # strength of the true motion of a case
PHOTOGRAPH_BUCKET = 10
VISIBLE_CHANGE = 0.06
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")  # of scikit-image; ComfyUI's example picture is the fourth
THING_VERBS = ("moves left", "moves right", "rises", "falls")


class Case(NamedTuple):
    """A picture and what it is asked to do.

    image: uint8 [h, w, 3]. bucket: how much the true scene moves at a middling strength. mask: where the thing stands that
    the caption speaks of, bool [h, w], or None where the whole picture moves. name: which picture it is. reach: how much the
    true scene moves at full strength; photographs, which have none, are taken to reach every bucket.
    """

    image: np.ndarray
    caption: str
    bucket: int
    mask: np.ndarray | None
    name: str
    reach: int = BUCKETS - 1


def camera_cases(size: int, count: int) -> list[Case]:
    """`count` pictures for each motion of the camera: photographs and textured scenes."""
    photographs = held_out_photographs(size)
    cases = []
    for number, caption in enumerate(CAMERA):
        cases += [Case(image, caption, PHOTOGRAPH_BUCKET, None, name) for name, image in photographs[:count]]
        cases += scene_cases(camera, caption, TRAINING_SEEDS + 100_000 * number, size, count - len(photographs))
    return cases


def bucket_cases(camera_cases: Sequence[Case], count: int) -> list[Case]:
    """`count` of them on which every bucket can be had: a plain picture does not reach the highest however fast it zooms."""
    return spread([case for case in camera_cases if case.reach == BUCKETS - 1], count)


def spread(cases: Sequence[Case], count: int) -> list[Case]:
    """Up to `count` of the cases, at equal distances."""
    return list(cases[:: max(1, len(cases) // count)][:count])


def thing_cases(size: int, count: int) -> list[Case]:
    """`count` scenes for each way in which a thing can move."""
    return [
        case
        for number, verb in enumerate(THING_VERBS, start=1)
        for case in scene_cases(moving_thing, verb, TRAINING_SEEDS + 1_000_000 * number, size, count)
    ]


def cloud_cases(size: int, count: int) -> list[Case]:
    return [
        case
        for number, way in enumerate(("left", "right"), start=1)
        for case in scene_cases(drifting_clouds, f"drift {way}", TRAINING_SEEDS + 10_000_000 * number, size, count)
    ]


def scene_cases(kind: Callable[[Setting], Scene], ending: str, first_seed: int, size: int, count: int) -> list[Case]:
    """The first `count` scenes of a kind, from a seed on, whose caption ends so and whose true motion the eye can see.

    A scene in which hardly anything can move shows nothing about a caption, nor one whose true motion the flow misreads.
    """
    cases: list[Case] = []
    seed = first_seed
    while len(cases) < count:
        scene = kind(Setting(Dice(seed), size, size, ()))
        if scene.caption.endswith(ending):
            bucket, reach = (true_bucket(scene, strength) for strength in (MIDDLING, 1.0))
            truth = pixels(to_uint8(scene.paint(torch.arange(FRAMES, dtype=torch.float32), MIDDLING)))
            mask = None if kind is camera else changing(scene)
            case = Case(truth[0], scene.caption, bucket, mask, f"scene {seed - TRAINING_SEEDS}", reach)
            visible = bucket > 0 and (mask is None or mask.any())
            if visible and read_direction(truth, mask) == direction_of(scene.caption):
                cases.append(case)
        seed += 1
    return cases


def true_bucket(scene: Scene, strength: float) -> int:
    return bucket_of_motion_id(motion_id_of_ssim(score(scene, FRAMES, strength)))


def changing(scene: Scene) -> np.ndarray:
    """Where the true scene changes within four frames, bool [h, w]: the thing that moves, as far as it is seen."""
    frames = scene.paint(torch.tensor([0.0, 4.0]), 1.0)
    return ((frames[1] - frames[0]).abs().amax(0) > VISIBLE_CHANGE).numpy()


def held_out_photographs(size: int) -> list[tuple[str, np.ndarray]]:
    """Square middles of the held-out photographs, uint8 [size, size, 3]. Raises InputError where scikit-image is missing."""
    try:
        import skimage
    except ImportError as error:
        raise InputError(f"The evaluation needs scikit-image, which cannot be imported ({error}): pip install scikit-image.") from error
    folder = Path(skimage.__file__).parent / "data"
    files = [folder / f"{name}.png" for name in PHOTOGRAPHS]
    comfy = importlib.util.find_spec("comfy")
    for place in (comfy.submodule_search_locations or ()) if comfy else ():
        files.append(Path(place).parent / "input" / "example.png")
    return [(file.stem, square(file, size)) for file in files if os.path.isfile(file)]


def square(file: Path, size: int) -> np.ndarray:
    from torchvision.transforms.functional import to_tensor

    image = to_tensor(read_picture(file))
    side = min(image.shape[1:])
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    image = image[None, :, top : top + side, left : left + side]
    return pixels(to_uint8(F.interpolate(image, size=(size, size), mode="bicubic", antialias=True, align_corners=False)))[0]


def pixels(frames: Tensor) -> np.ndarray:
    """uint8 [f, 3, h, w] -> [f, h, w, 3]."""
    return frames.permute(0, 2, 3, 1).numpy()
