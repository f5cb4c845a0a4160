"""Measures what Detail Transfer gains over enlarging alone, on real clips that nothing was tuned on.

    python -m cinemo_core.evaluation.detail [--factors 4 2] [--clips N] [--sheets FOLDER]

Of every held-out clip of ComfyUI's template packages the longest shot is taken, of that 8 frames, 4 frames apart. They are made
smaller with Lanczos, rounded to 8 bits, and restored with the true first frame as the picture. The gain of a frame is its PSNR
minus that of the small frame enlarged with Lanczos. The exit status is 1 where a bar is missed.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from ..detail.planes import lanczos
from ..detail.transfer import transfer_detail
from ..media.errors import BadMedia
from ..media.videos import read_frames
from ..training.nano.shots import find_shots, small_frames
from ..training.nano.templates import find_templates

FRAMES, APART = 8, 4
SMALLEST_SIDE = 192  # pixels; below are icons
BARS = {4: 2.0, 2: 1.7}  # dB, the mean gain
WORST = -0.1  # dB, of any frame
EQUAL = 1e-7  # mean squared error that counts as none


@dataclass(frozen=True)
class Clip:
    """frames: [f, h, w, 3] in 0..1, sides multiples of 4."""

    name: str
    frames: torch.Tensor


@dataclass(frozen=True)
class Restored:
    """What became of a clip. gains: dB of frames 1 to 7. images, enlarged: [8, h, w, 3]; trust: [8, h, w]."""

    clip: Clip
    gains: list[float]
    images: torch.Tensor
    enlarged: torch.Tensor
    trust: torch.Tensor


def held_out_clips(count: int = FRAMES, apart: int = APART) -> Iterator[Clip]:
    """`count` frames, `apart` source frames apart, of the longest usable shot of each held-out clip.

    A file that cannot be read, or has no such shot, is named and left out.
    """
    side, length = max(BARS), (count - 1) * apart + 1
    for media in find_templates():
        if not media.held_out or media.frames < length or min(media.width, media.height) < SMALLEST_SIDE:
            continue
        try:
            pixels = np.stack([np.asarray(picture) for picture in read_frames(media.path, range)])
        except BadMedia as error:
            print(f"left out: {error}")
            continue
        shots = [shot for shot in find_shots(small_frames(pixels))[0] if shot.frames >= length]
        if not shots:
            print(f"left out: {media.name} has no shot of {length} frames that moves")
            continue
        start = max(shots, key=lambda shot: shot.frames).start
        height, width = (size // side * side for size in pixels.shape[1:3])
        frames = pixels[start : start + length : apart, :height, :width]
        yield Clip(media.name, torch.from_numpy(frames).float() / 255)


def restore(clip: Clip, factor: int) -> Restored:
    """Make a clip smaller by a factor, and large again with its true first frame."""
    true = clip.frames.movedim(-1, 1)  # f h w c -> f c h w
    height, width = true.shape[-2:]
    small = (lanczos(true, height // factor, width // factor).clamp(0, 1) * 255).round() / 255
    enlarged = lanczos(small, height, width).clamp(0, 1).movedim(1, -1)
    detailed = transfer_detail(small.movedim(1, -1), clip.frames[0])
    if not torch.equal(detailed.images[0], clip.frames[0]):
        raise ArithmeticError(f"{clip.name}: frame 0 is not the picture")
    gains = [psnr(a, t) - psnr(b, t) for a, b, t in zip(detailed.images[1:], enlarged[1:], clip.frames[1:], strict=True)]
    return Restored(clip, gains, detailed.images, enlarged, detailed.trust)


def psnr(image: torch.Tensor, true: torch.Tensor) -> float:
    """In dB, at most 70."""
    return float(-10 * torch.log10((image - true).square().mean().clamp_min(EQUAL)))


def write_sheet(restored: Restored, path: Path) -> None:
    """Rows of frames 0, 1, 3, 5 and 7: enlarged, with detail, true, trust."""
    from PIL import Image

    chosen = [0, 1, 3, 5, 7]
    trust = restored.trust[..., None].expand_as(restored.images)
    rows = [torch.cat(list(images[chosen]), dim=1) for images in (restored.enlarged, restored.images, restored.clip.frames, trust)]
    Image.fromarray((torch.cat(rows) * 255).round().byte().numpy()).save(path, quality=92)


def measure(factor: int, clips: Sequence[Clip], sheets: Path | None) -> bool:
    """Print a line for each clip and the verdict; whether the bars hold."""
    results = []
    for clip in clips:
        restored = restore(clip, factor)
        results.append(restored.gains)
        print(f"{factor}x {mean(restored.gains):+.2f} dB  {' '.join(f'{gain:+.2f}' for gain in restored.gains)}  {clip.name}", flush=True)
        if sheets:
            write_sheet(restored, sheets / f"{Path(clip.name).stem}_{factor}x.jpg")
    gain, worst = mean(map(mean, results)), min(map(min, results))
    holds = gain >= BARS[factor] and worst >= WORST
    print(
        f"{factor}x: mean gain {gain:+.2f} dB over {len(results)} clips (bar {BARS[factor]:+.1f}), worst frame {worst:+.2f} dB "
        f"(bar {WORST:+.1f}): {'holds' if holds else 'MISSED'}",
        flush=True,
    )
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(prog="cinemo_core.evaluation.detail", description=__doc__.splitlines()[0])
    parser.add_argument("--factors", type=int, nargs="+", choices=sorted(BARS), default=sorted(BARS, reverse=True), help="how much smaller")
    parser.add_argument("--clips", type=int, help="only the first so many")
    parser.add_argument("--sheets", type=Path, help="folder for a contact sheet of each clip")
    options = parser.parse_args()
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    clips = list(held_out_clips())[: options.clips]
    if not clips:
        print("There are no held-out clips.")
        return 1
    held = [measure(factor, clips, options.sheets) for factor in options.factors]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
