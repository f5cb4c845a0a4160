"""Moves a clip of drawn poses to where the pose of a reference picture is, where there are only pictures and no key points.

A figure is what is not black. Only its size and place change, so limbs keep their proportions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..shapes import check_image
from .figure import meeting

BLACK = 0.1  # what is no brighter belongs to the ground, also after a video's compression
FILLED = 0.5  # of a picture's pixels: a drawn pose fills less
THIN = 128  # a row counts if more than one in so many of its pixels are drawn: specks do not
LEGS = 0.4  # the lower part of a figure, below hanging hands
TRUNK = 0.15  # of a figure's height, to either side of the legs' middle: wide enough for the head, too narrow for raised arms


@dataclass(frozen=True)
class Stance:
    """Where a figure stands, in pixels: the middle of its legs, and from head to foot, whatever the arms do."""

    middle: float
    top: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def feet(self) -> np.ndarray:
        """[x, y]."""
        return np.array([self.middle, self.bottom])


@dataclass(frozen=True)
class Placing:
    """From a clip's pixels to those of the result: times `scale` plus `offset`, each [x, y].

    size: of the figure, against the clip. sources: for each frame the one that is shown, another where it shows no figure.
    """

    scale: np.ndarray
    offset: np.ndarray
    size: float
    sources: tuple[int, ...]

    @property
    def carried(self) -> int:
        return sum(source != frame for frame, source in enumerate(self.sources))


def plan(images: torch.Tensor, reference: torch.Tensor, width: int, height: int, fit: str) -> Placing:
    """How pictures of poses [f, h, w, 3 or 4] come to stand where the pose of a reference picture [b, h, w, 3 or 4] stands.

    The figure gets the reference's height, measured on the clip's frame of middle height, and the first one stands where the reference
    stands. The reference's picture then meets width x height by `fit`.
    Raises InputError for what is no picture of a pose on black.
    """
    target = only_figure(reference, "The picture of the reference's pose")
    check_image(images)
    stances = [find_stance(frame) for frame in images]
    shown = [i for i, stance in enumerate(stances) if stance]
    if not shown:
        raise InputError("The pictures of poses are all black: connect drawn poses, as a DWPose or OpenPose node makes them.")
    check_ground(images[shown], "The pictures of poses")
    found = [stance for stance in stances if stance]
    size = target.height / float(np.median([stance.height for stance in found]))
    scale, offset = meeting((reference.shape[2], reference.shape[1]), (width, height), fit)
    last, sources = shown[0], []
    for i, stance in enumerate(stances):
        last = i if stance else last
        sources.append(last)
    return Placing(scale * size, (target.feet - found[0].feet * size) * scale + offset, size, tuple(sources))


def only_figure(image: torch.Tensor, name: str) -> Stance:
    check_image(image)
    stance = find_stance(image[0])
    if stance is None:
        raise InputError(f"{name} is all black: connect a drawn pose, as a DWPose or OpenPose node makes it.")
    check_ground(image[:1], name)
    return stance


def check_ground(images: torch.Tensor, name: str) -> None:
    """Raise InputError where most of the pictures is not black."""
    share = sum(float(drawn(image).mean(dtype=torch.float32)) for image in images) / len(images)
    if share > FILLED:
        raise InputError(
            f"{name} {'is' if len(images) == 1 else 'are'} not on black, as {share:.0%} of the pixels are brighter: connect drawn poses, "
            "as a DWPose or OpenPose node makes them, not the video itself."
        )


def drawn(image: torch.Tensor) -> torch.Tensor:
    """[h, w], which pixels of a picture [h, w, c] are not black."""
    return image[..., :3].amax(-1) > BLACK


def find_stance(image: torch.Tensor) -> Stance | None:
    """Of what is not black in a picture [h, w, c], without specks; None where there is nothing."""
    figure = drawn(image).cpu().numpy()
    rows = drawn_rows(figure)
    if not len(rows):
        return None
    bottom, height = rows[-1] + 1, rows[-1] + 1 - rows[0]
    legs = figure[bottom - max(1, round(LEGS * height)) : bottom]
    middle = float(np.nonzero(legs)[1].mean()) + 0.5
    left, right = (round(middle + side * max(1.0, TRUNK * height)) for side in (-1, 1))
    trunk = drawn_rows(figure[:, max(left, 0) : right], figure.shape[1])
    return Stance(middle, int(trunk[0]) if len(trunk) else int(rows[0]), int(bottom))


def drawn_rows(figure: np.ndarray, width: int | None = None) -> np.ndarray:
    """The indices of those that hold more than specks."""
    return np.flatnonzero(figure.sum(axis=1) > (width or figure.shape[1]) / THIN)


def place(images: torch.Tensor, placing: Placing, width: int, height: int) -> Iterator[np.ndarray]:
    """The frames in their new place, uint8 [height, width, 3] each, on black."""
    for source in placing.sources:
        pixels = (images[source, ..., :3].detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
        yield place_picture(Image.fromarray(pixels.numpy()), placing, width, height)


def place_picture(picture: Image.Image, placing: Placing, width: int, height: int) -> np.ndarray:
    """Lanczos of the part of the picture that comes to be inside."""
    page, size = Image.new("RGB", (width, height)), np.array(picture.size)
    first = np.ceil(np.maximum(placing.offset, 0) - 1e-6).astype(int)
    last = np.floor(np.minimum(placing.offset + size * placing.scale, (width, height)) + 1e-6).astype(int)
    if (last > first).all():
        start, end = (np.clip((edge - placing.offset) / placing.scale, 0, size) for edge in (first, last))
        part = picture.resize((int(last[0] - first[0]), int(last[1] - first[1])), Image.Resampling.LANCZOS, (*start, *end))
        page.paste(part, (int(first[0]), int(first[1])))
    return np.asarray(page)
