"""Makes pictures of what nano does: a gallery, and what each control changes. Run by `python dev.py pictures`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cinemo_core import included
from cinemo_core.evaluation.claims.animate import Animator, Task, load_animator
from cinemo_core.evaluation.claims.cases import Case, camera_cases, cloud_cases, thing_cases
from cinemo_core.training import frozen
from cinemo_core.training.validation import contact_sheet

from .console import say
from .environment import ROOT

STEPS, CFG = 50, 7.5  # the workflows' settings
BUCKETS = (0, 5, 10, 15, 19)
LARGER = 2  # times, on the page
MILLISECONDS = 125  # per frame: 8 frames a second, as the workflows save
PICTURES = 5  # for each motion of the camera: the held-out photographs and a scene
COLUMNS = 5  # of the moving gallery
OUTPUT = ROOT / "output" / "pictures"


def main() -> None:
    animator = load_animator(included.FOLDER, torch.device("cpu"), STEPS, CFG)
    size = included.SIZE[0]
    camera = camera_cases(size, PICTURES)  # the pictures of each motion one after the other
    motions = range(len(camera) // PICTURES)
    various = [camera[PICTURES * motion + (motion + 1) % PICTURES] for motion in motions]
    gallery(animator, [*various, *camera[-1:], *thing_cases(size, 1), *cloud_cases(size, 1)])
    help_pages(animator, camera[1])
    how_it_works(animator, camera[1])


def gallery(animator: Animator, cases: Sequence[Case]) -> None:
    """Contact sheet and moving picture of many motions: every one of the camera, and of things."""
    tasks = [Task(case.image, case.caption, max(case.bucket, 8), seed) for seed, case in enumerate(cases)]
    clips = animate(animator, tasks)
    write_sheet(OUTPUT / "gallery.png", clips, [f"bucket {task.bucket}: {task.caption}" for task in tasks])
    rows = [np.concatenate(clips[i : i + COLUMNS], axis=2) for i in range(0, len(clips) - COLUMNS + 1, COLUMNS)]
    write_moving(OUTPUT / "gallery.webp", np.concatenate(rows, axis=1))


def help_pages(animator: Animator, case: Case) -> None:
    """What each control does, everything else staying the same."""
    base = Task(case.image, case.caption, 12, 1)
    sheets = {
        "motion_bucket": [(f"motion_bucket {bucket}", replace(base, bucket=bucket)) for bucket in BUCKETS],
        "prompt": [
            (caption, replace(base, caption=caption)) for caption in (case.caption, "the camera zooms in", "the camera rolls clockwise")
        ],
        "dctinit": [("with DCTInit", base), ("without: plain noise", replace(base, initial_noise="none"))],
        "cutoff": [(f"cutoff {cutoff}", replace(base, cutoff=cutoff)) for cutoff in (0.0, 0.23, 0.5, 1.0)],
        "noise_level": [(f"noise_level {level}", replace(base, noise_level=level)) for level in (995, 975, 900, 700)],
        "seed": [(f"seed {seed}", replace(base, seed=seed)) for seed in range(3)],
    }
    for name, rows in sheets.items():
        labels, tasks = zip(*rows, strict=True)
        write_sheet(OUTPUT / f"{name}.png", animate(animator, tasks), labels)
    animators = {
        "cfg": {f"cfg {cfg}": replace(animator, cfg=cfg) for cfg in (1.0, 3.0, 7.5, 15.0)},
        "steps": {f"steps {steps}": replace(animator, steps=steps) for steps in (5, 10, 25, 50)},
    }
    for name, settings in animators.items():
        write_sheet(OUTPUT / f"{name}.png", [animate(who, [base])[0] for who in settings.values()], list(settings))
    (clip,) = animate(animator, [base])
    gains = (0.0, 0.5, 1.0, 1.5, 2.0)
    write_sheet(OUTPUT / "gain.png", [amplified(animator, clip, gain) for gain in gains], [f"gain {gain}" for gain in gains])


def amplified(animator: Animator, clip: np.ndarray, gain: float) -> np.ndarray:
    """The clip with its residuals times a number, as Cinemo Residual Merge makes it."""
    latents = frozen.encode(animator.vae, torch.from_numpy(clip).permute(0, 3, 1, 2))
    return frozen.decode(animator.vae, latents[:1] + gain * (latents - latents[:1])).permute(0, 2, 3, 1).numpy()


def how_it_works(animator: Animator, case: Case) -> None:
    """A clip, and what of it the network denoises."""
    (clip,) = animate(animator, [Task(case.image, case.caption, 14, 1)])
    residual = (clip.astype(np.int16) - clip[:1] + 128).clip(0, 255).astype(np.uint8)
    labels = ("what the network denoises: each frame minus the first", f"that plus the first frame, the input: {case.caption}")
    write_sheet(OUTPUT / "how_it_works.png", [residual, clip], labels)


def animate(animator: Animator, tasks: Sequence[Task]) -> list[np.ndarray]:
    return list(animator.animate(tasks))


def enlarged(clip: np.ndarray) -> np.ndarray:
    """uint8 [f, h, w, 3], each frame larger."""
    frames = [Image.fromarray(frame) for frame in clip]
    return np.stack([np.asarray(f.resize((f.width * LARGER, f.height * LARGER), Image.Resampling.BICUBIC)) for f in frames])


def write_sheet(path: Path, clips: Sequence[np.ndarray], labels: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [torch.from_numpy(enlarged(clip)).permute(0, 3, 1, 2) for clip in clips]
    contact_sheet(frames, list(labels)).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    say(f"* {path.relative_to(ROOT)}")


def write_moving(path: Path, clip: np.ndarray) -> None:
    first, *rest = (Image.fromarray(frame) for frame in enlarged(clip))
    first.save(path, save_all=True, append_images=rest, duration=MILLISECONDS, loop=0, quality=80)
    say(f"* {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
