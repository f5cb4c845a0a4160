"""Makes pictures of what nano does: a gallery, and what each control changes. Run by `python dev.py pictures`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from cinemo_core import included
from cinemo_core.evaluation.claims.animate import Animator, Task, load_animator
from cinemo_core.evaluation.claims.cases import Case, camera_cases, cloud_cases, thing_cases
from cinemo_core.training import frozen
from cinemo_core.training.validation import contact_sheet

from .console import say
from .environment import ROOT

STEPS, CFG, NEGATIVE_BUCKET = 20, 1.0, 0  # the workflows' settings but for the steps: the eye sees no difference from 50
BUCKET = 6  # moves visibly, and what moves stays recognisable
BUCKETS = (0, 5, 10, 15, 19)
MILLISECONDS, LAST = 125, 700  # per frame: 8 frames a second, as the workflows save; a rest before it begins again
PICTURES = 5  # for each motion of the camera: the held-out photographs and a scene
COLUMNS = 5
LABEL, GAP, INK, PAPER = 16, 4, (225, 225, 230), (24, 24, 28)
GALLERY, HELP = ROOT / "docs" / "pictures", ROOT / "web" / "docs" / "pictures"


def main() -> None:
    animator = load_animator(included.FOLDER, torch.device("cpu"), STEPS, CFG, NEGATIVE_BUCKET)
    size = included.SIZE[0]
    camera = camera_cases(size, PICTURES)  # the pictures of each motion one after the other
    motions = range(len(camera) // PICTURES)
    various = [camera[PICTURES * motion + (motion + 1) % PICTURES] for motion in motions]
    gallery(animator, [*various, *camera[-1:], *thing_cases(size, 1), *cloud_cases(size, 1)])
    help_pages(animator, camera[0])
    how_it_works(animator, camera[0])


def gallery(animator: Animator, cases: Sequence[Case]) -> None:
    """Contact sheet and moving picture of many motions: every one of the camera, and of things."""
    tasks = [Task(case.image, case.caption, BUCKET, seed) for seed, case in enumerate(cases)]
    clips = animate(animator, tasks)
    write_sheet(GALLERY / "gallery_sheet.webp", clips, [f"bucket {task.bucket}: {task.caption}" for task in tasks])
    write_moving(GALLERY / "gallery.webp", clips, [task.caption.removeprefix("the ") for task in tasks])


def help_pages(animator: Animator, case: Case) -> None:
    """What each control does, everything else staying the same."""
    base = Task(case.image, case.caption, BUCKET, 1)
    captions = [case.caption, "the camera pans right", "the camera tilts up", "the camera zooms in"]
    sheets = {
        "motion_bucket": [(f"motion_bucket {bucket}", replace(base, bucket=bucket)) for bucket in BUCKETS],
        "prompt": [(caption.removeprefix("the "), replace(base, caption=caption)) for caption in captions],
        "dctinit": [("DCTInit", base), ("plain noise", replace(base, initial_noise="none"))],
        "cutoff": [(f"cutoff {cutoff}", replace(base, cutoff=cutoff)) for cutoff in (0.0, 0.23, 0.5, 1.0)],
        "noise_level": [(f"noise_level {level}", replace(base, noise_level=level)) for level in (995, 975, 900, 700)],
        "seed": [(f"seed {seed}", replace(base, seed=seed)) for seed in range(4)],
    }
    for name, columns in sheets.items():
        labels, tasks = zip(*columns, strict=True)
        write_moving(HELP / f"{name}.webp", animate(animator, tasks), labels)
    animators = {
        "cfg": {f"cfg {cfg}": replace(animator, cfg=cfg) for cfg in (1.0, 1.4, 2.0, 4.0)},
        "steps": {f"steps {steps}": replace(animator, steps=steps) for steps in (5, 10, 25, 50)},
    }
    for name, settings in animators.items():
        write_moving(HELP / f"{name}.webp", [animate(who, [base])[0] for who in settings.values()], list(settings))
    (clip,) = animate(animator, [base])
    gains = (0.0, 0.5, 1.0, 1.5, 2.0)
    write_moving(HELP / "gain.webp", [amplified(animator, clip, gain) for gain in gains], [f"gain {gain}" for gain in gains])


def amplified(animator: Animator, clip: np.ndarray, gain: float) -> np.ndarray:
    """The clip with its residuals times a number, as Cinemo Residual Merge makes it."""
    latents = frozen.encode(animator.vae, torch.from_numpy(clip).permute(0, 3, 1, 2))
    return frozen.decode(animator.vae, latents[:1] + gain * (latents - latents[:1])).permute(0, 2, 3, 1).numpy()


def how_it_works(animator: Animator, case: Case) -> None:
    """A clip, and what of it the network denoises."""
    (clip,) = animate(animator, [Task(case.image, case.caption, BUCKET, 1)])
    residual = (clip.astype(np.int16) - clip[:1] + 128).clip(0, 255).astype(np.uint8)
    labels = ("what the network denoises: each frame minus the first", f"that plus the first frame, the input: {case.caption}")
    write_sheet(GALLERY / "how_it_works.webp", [residual, clip], labels)


def animate(animator: Animator, tasks: Sequence[Task]) -> list[np.ndarray]:
    return list(animator.animate(tasks))


def write_sheet(path: Path, clips: Sequence[np.ndarray], labels: Sequence[str]) -> None:
    """Every third frame side by side, a row for each clip."""
    frames = [torch.from_numpy(clip[::3].copy()).permute(0, 3, 1, 2) for clip in clips]
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(frames, list(labels)).save(path, quality=80, method=6)
    say(f"* {path.relative_to(ROOT)}")


def write_moving(path: Path, clips: Sequence[np.ndarray], labels: Sequence[str]) -> None:
    """The clips side by side, playing, each with its label above."""
    pages = [moment([clip[i] for clip in clips], labels) for i in range(len(clips[0]))]
    path.parent.mkdir(parents=True, exist_ok=True)
    duration = [MILLISECONDS] * (len(pages) - 1) + [LAST]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=duration, loop=0, quality=75, method=6)
    say(f"* {path.relative_to(ROOT)}")


def moment(frames: Sequence[np.ndarray], labels: Sequence[str]) -> Image.Image:
    """A frame of every clip, in rows of COLUMNS."""
    size = frames[0].shape[0]
    columns, rows = min(COLUMNS, len(frames)), -(-len(frames) // COLUMNS)
    page = Image.new("RGB", (columns * (size + GAP) + GAP, rows * (size + LABEL + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for i, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        left, top = GAP + i % COLUMNS * (size + GAP), GAP + i // COLUMNS * (size + LABEL + GAP)
        draw.text((left, top), label, font=fitting(label, size), fill=INK)
        page.paste(Image.fromarray(frame), (left, top + LABEL))
    return page


def fitting(label: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font up to the height of a label in which it is no wider than its clip."""
    fonts = [ImageFont.load_default(size) for size in range(LABEL - 4, 6, -1)]
    return next((font for font in fonts if font.getlength(label) <= width), fonts[-1])


if __name__ == "__main__":
    main()
