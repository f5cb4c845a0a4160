"""The part of a picture that a clip shows, at the size of the result; and whether the clip was made from that picture at all."""

import torch

from ..errors import InputError
from ..resize import resize_image
from ..shapes import MIN_FRAMES, MIN_SIDE, check_image

FITS = ("cover", "stretch", "pad")
ALIKE = 0.5  # correlation of small grey versions
CONTRAST = 0.02  # standard deviation below which there is nothing to correlate
LOOK = 48  # pixels, the long side of the small versions


def check_clip(images: torch.Tensor) -> None:
    """Raise InputError unless `images` is a clip [f, h, w, 3 or 4] of 2 or more frames, 16 pixels or more on each side."""
    check_image(images)
    frames, height, width, _ = images.shape
    if frames < MIN_FRAMES:
        raise InputError(f"The clip has {frames} frame; detail follows motion, so connect all frames of a clip, {MIN_FRAMES} or more.")
    if min(height, width) < MIN_SIDE:
        raise InputError(f"The frames are {width}x{height}; connect a clip of at least {MIN_SIDE} pixels on each side.")


def result_size(picture: torch.Tensor, images: torch.Tensor, width: int, fit: str) -> tuple[int, int]:
    """Width and height of the result for a picture [b, h, w, 3 or 4] and a clip [f, h, w, c].

    width: of the result, its height following from the clip's aspect; 0 for the picture's own pixels, cropped or padded to that
    aspect and to even sides, or the clip's size where that is larger. Raises InputError for what is no picture.
    """
    check_image(picture)
    if fit not in FITS:
        raise InputError(f"The fit is {fit!r}; choose one of {', '.join(FITS)}.")
    if width and width < MIN_SIDE:
        raise InputError(f"The width of the result is {width}; choose 0 for the picture's own size, or at least {MIN_SIDE} pixels.")
    rows, columns = images.shape[1:3]
    if width:
        return width, max(MIN_SIDE, 2 * round(width * rows / columns / 2))
    own = own_size(picture.shape[2], picture.shape[1], columns, rows, fit)
    return own if own[0] >= columns and own[1] >= rows else (columns, rows)


def fit_picture(picture: torch.Tensor, images: torch.Tensor, width: int, fit: str) -> torch.Tensor:
    """The first picture of [b, h, w, 3 or 4] as the clip [f, h, w, c] shows it, [H, W, 3] in 0..1, its pixels kept where they can be.

    width and what it raises: see `result_size`; InputError also for a picture that does not look like frame 0.
    """
    size = result_size(picture, images, width, fit)
    check_alike(picture[:1], images[:1], fit)
    if width or size != own_size(picture.shape[2], picture.shape[1], images.shape[2], images.shape[1], fit):
        return resize_image(picture[:1], *size, fit)[0]
    return _own_pixels(picture[0, ..., :3].to("cpu", torch.float32), *size)


def own_size(width: int, height: int, columns: int, rows: int, fit: str) -> tuple[int, int]:
    """Width and height of a picture of width x height that a clip of columns x rows shows, without scaling it; even numbers."""
    if fit == "stretch":
        return width // 2 * 2, height // 2 * 2
    scale = (min if fit == "cover" else max)(width / columns, height / rows)
    if fit == "cover":
        return min(width, round(columns * scale)) // 2 * 2, min(height, round(rows * scale)) // 2 * 2
    return -(-max(width, round(columns * scale)) // 2) * 2, -(-max(height, round(rows * scale)) // 2) * 2


def _own_pixels(picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """The middle of a picture [h, w, 3], or the picture in the middle of black."""
    for axis, size in ((0, height), (1, width)):
        missing = size - picture.shape[axis]
        if missing > 0:
            shape = list(picture.shape)
            shape[axis] = size
            ground = picture.new_zeros(shape)
            ground.narrow(axis, missing // 2, picture.shape[axis]).copy_(picture)
            picture = ground
        else:
            picture = picture.narrow(axis, -missing // 2, size)
    return picture.clamp(0, 1)


def check_alike(picture: torch.Tensor, first: torch.Tensor, fit: str) -> None:
    """Raise InputError unless frame 0 [1, h, w, c] looks like the picture: the wrong one would only add ghosts."""
    rows, columns = first.shape[1:3]
    scale = LOOK / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    one, other = (resize_image(image, *size, how).mean(dim=-1) for image, how in ((picture, fit), (first, "stretch")))
    spread = min(float(one.std()), float(other.std()))
    if spread < CONTRAST:
        return
    likeness = float(((one - one.mean()) * (other - other.mean())).mean() / (one.std() * other.std()))
    if likeness < ALIKE:
        raise InputError(
            f"The picture does not look like frame 0 of the clip (correlation {likeness:.2f}, expected {ALIKE} or more): connect the "
            "picture that the clip was made from, and set fit to how it met the size of the clip."
        )
