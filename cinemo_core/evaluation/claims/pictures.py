"""Whether a person would still recognise the picture: nano's bars on held-out pictures and clips of ComfyUI's templates.

The stills and clips are those that `training.nano.templates` holds out by name.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ...errors import InputError
from ...media.errors import BadMedia
from ...media.pictures import cover, read_picture
from ...training import frozen
from ...training.nano.camera_clips import LATENT, Still, encode_still
from ...training.nano.camera_share import Predictor, Watched, explained
from ...training.nano.moves import SHIFTED
from ...training.nano.templates import Media, find_templates
from ..detail import SMALLEST_SIDE, held_out_clips, psnr
from .animate import FRAMES, Animator, Task
from .cases import Case
from .claims import Clips, Row, directions_obeyed, measured_bucket
from .direction import direction_of
from .flow import global_motion
from .measures import identity_at_the_end, spearman

CLAIM = "a person recognises the picture"
SLOW_BUCKET = 6
LATE, MIDDLE = "900", "500"
ROOM = 4 / 3  # of a picture to the view of it, for the widest move
APART = 3  # source frames, as the authors sample their clips
BACK, KEPT, SHARE, REAL = (
    "PSNR of the autoencoder alone",
    "PSNR of the last frame warped back, pans and tilts in bucket 6",
    "share of a camera move's energy that one prediction explains",
    "Spearman of a real clip's bucket and that of the clip made for it",
)
DIRECTIONS = "direction by optical flow, by the way of the camera and of things"
WAY_BARS = {"pans": 0.9, "tilts": 0.9, "zooms in": 0.75, "zooms out": 0.85, "things": 0.8}
BACK_BAR, KEPT_BAR, MOVED_BAR, LATE_BAR, MIDDLE_BAR, REAL_BAR = 25.0, 22.0, 0.03, 0.85, 0.92, 0.8


class Pictures(NamedTuple):
    """Held-out stills, by name, as square pictures uint8 [size, size, 3] and as they are."""

    names: list[str]
    square: list[np.ndarray]
    media: list[Media]


def held_out_stills(size: int, count: int) -> Pictures:
    """The first `count` that are large enough. Raises InputError where there is none, or no template package."""
    found = Pictures([], [], [])
    for media in find_templates():
        if not media.held_out or media.frames > 1 or min(media.width, media.height) < max(size, SMALLEST_SIDE):
            continue
        try:
            picture = cover(read_picture(media.path), size, size)
        except BadMedia as error:
            print(f"left out: {error}")
            continue
        found.names.append(media.name)
        found.square.append(picture.permute(1, 2, 0).numpy())
        found.media.append(media)
        if len(found.names) == count:
            return found
    if not found.names:
        raise InputError(f"None of the held-out template pictures is {size} pixels wide and high; choose a smaller --size.")
    return found


def comes_back(animator: Animator, stills: Pictures) -> Row:
    """What the autoencoder returns of a picture: more, no clip can show."""
    psnrs = []
    for picture in stills.square:
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
        returned = frozen.decode(animator.vae, frozen.encode(animator.vae, pixels))
        psnrs.append(psnr(returned / 255, pixels / 255))
    mean = float(np.mean(psnrs))
    return Row(CLAIM, BACK, f"{mean:.2f} dB of {len(psnrs)} stills", f">= {BACK_BAR:.0f} dB", mean >= BACK_BAR)


def kept_to_the_end(animator: Animator, stills: Pictures, clips: Clips) -> Row:
    """Each still under one move; how far it goes counts too, as a clip that stands still loses nothing."""
    captions = [SHIFTED[i % len(SHIFTED)] for i in range(len(stills.names))]
    tasks = [Task(image, caption, SLOW_BUCKET, seed) for seed, (image, caption) in enumerate(zip(stills.square, captions, strict=True))]
    kept, moved = [], []
    for clip, task in zip(clips(animator, tasks), tasks, strict=True):
        kept.append(identity_at_the_end(np.concatenate([task.image[None], clip[1:]])))
        moved.append(gone(clip, task.caption) / task.image.shape[1])
    mean, share = float(np.mean(kept)), float(np.mean(moved))
    result = f"{mean:.2f} dB, moved as asked by {share:.1%} of the width in the mean, {len(kept)} stills"
    bar = f">= {KEPT_BAR:.0f} dB, moved >= {MOVED_BAR:.0%}"
    return Row(CLAIM, KEPT, result, bar, mean >= KEPT_BAR and share >= MOVED_BAR)


def gone(frames: np.ndarray, caption: str) -> float:
    """Pixels that the picture goes in the direction of its caption."""
    motion = global_motion(frames)
    return {"right": motion.right, "left": -motion.right, "down": motion.down, "up": -motion.down}[direction_of(caption)]


def moves_explained(animator: Animator, stills: Pictures) -> Row:
    size = stills.square[0].shape[0] // LATENT
    side = math.ceil(ROOM * size)
    encoded: list[Still] = [
        encode_still(animator.vae, name, read_picture(media.path), side) for name, media in zip(stills.names, stills.media, strict=True)
    ]
    shares = explained(Predictor(animator.unet, animator.text_encoder, animator.tokenizer), encoded, Watched(size, len(encoded)))
    passed = shares[LATE] >= LATE_BAR and shares[MIDDLE] >= MIDDLE_BAR
    result = f"{shares[LATE]:.2f} at timestep {LATE}, {shares[MIDDLE]:.2f} at {MIDDLE} (the moved first frame {shares['bound']:.2f})"
    return Row(CLAIM, SHARE, result, f">= {LATE_BAR} and {MIDDLE_BAR}", passed)


def real_motion(animator: Animator, size: int, count: int, clips: Clips) -> Row:
    """The first frame of a real clip, animated in the bucket that was measured on the clip, without a caption."""
    tasks: list[Task] = []
    for clip in held_out_clips(FRAMES, APART):
        frames = np.stack([square(frame, size) for frame in clip.frames])
        tasks.append(Task(frames[0], "", measured_bucket(frames), len(tasks)))
        if len(tasks) == count:
            break
    if len(tasks) < 2:
        raise InputError(f"{len(tasks)} held-out template clips can be used; at least 2 are needed. Install comfyui-workflow-templates.")
    asked, made = [task.bucket for task in tasks], [measured_bucket(clip) for clip in clips(animator, tasks)]
    rank = spearman(np.array(asked), np.array(made))
    return Row(CLAIM, REAL, f"{rank:.2f} of {len(tasks)} clips, buckets {min(asked)} to {max(asked)}", f">= {REAL_BAR}", rank >= REAL_BAR)


def each_way(animator: Animator, cases: Sequence[Case], clips: Clips) -> Row:
    """Directions that are obeyed, each way of the camera by itself, and things that move. The cases are the claims'."""
    shares = directions_obeyed(animator, cases, clips, way_of)
    result = ", ".join(f"{way} {share:.0%}" for way, share in shares.items())
    bar = ", ".join(f"{way} >= {WAY_BARS[way]:.0%}" for way in shares)
    return Row(CLAIM, DIRECTIONS, f"{result} of {len(cases)} clips", bar, all(share >= WAY_BARS[way] for way, share in shares.items()))


def way_of(caption: str) -> str:
    """What the camera does by the caption, or "things"."""
    return next((way for way in WAY_BARS if way in caption), "things")


def square(frame: torch.Tensor, size: int) -> np.ndarray:
    """The middle of a frame [h, w, 3] in 0..1 as uint8 [size, size, 3]."""
    from PIL import Image

    return cover(Image.fromarray((frame * 255).round().byte().numpy()), size, size).permute(1, 2, 0).numpy()


def recognisable(animator: Animator, cases: Sequence[Case], size: int, count: int, clips: Clips) -> list[Row]:
    """Every bar, on up to `count` stills and clips. cases: of the camera, and of things that move."""
    stills = held_out_stills(size, count)
    return [
        comes_back(animator, stills),
        kept_to_the_end(animator, stills, clips),
        moves_explained(animator, stills),
        real_motion(animator, size, count, clips),
        each_way(animator, cases, clips),
    ]
