"""Draws the pictures of the pose nodes' help pages, with the pack's own code.

python dev.py py -m tools.poses
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from cinemo_core.pose.align import SEGMENTS, Proportions, align, rebuild
from cinemo_core.pose.draw import draw_figure
from cinemo_core.pose.figure import NECK, Figure
from cinemo_core.pose.motions import MOTIONS
from cinemo_core.pose.pictures import find_stance, place, plan
from cinemo_core.pose.skeleton import Posture, photograph, pose

from .console import say
from .environment import ROOT

HELP = ROOT / "web" / "docs" / "pictures"
SIZE = 512, 640  # of a drawn pose; shown at a third of it
SHOWN = 165, 206
SHARES = (0.0, 0.3, 0.5, 0.7)  # of the motion: what is shown of it
INK, PAPER, MARK, LABEL = (225, 225, 230), (24, 24, 28), (255, 176, 0), 24
FRAMES, MILLISECONDS = 16, 90
# A child: what the length of a segment is against an adult's, all of it smaller.
CHILD, CHILDS_SIZE = {"head": 1.6, "neck": 1.3, "thighs": 0.65, "shins": 0.65, "upper arms": 0.8, "forearms": 0.8}, 0.8


def child() -> Figure:
    """Of other proportions, and away from the middle."""
    factors = {name: CHILDS_SIZE * CHILD.get(name, 1.0) for name in SEGMENTS}
    adult = photograph(pose(Posture()), *SIZE)
    neck = adult.body[NECK, :2] + (SIZE[0] * 0.12, SIZE[1] * 0.22)
    return rebuild(adult, Proportions(CHILDS_SIZE, factors, CHILDS_SIZE, tuple(SEGMENTS)), neck, adult)


def adult(motion: str, time: float, view: float = 0) -> Figure:
    """To the left of the middle, so that the place changes too."""
    found = photograph(pose(MOTIONS[motion](time), view), *SIZE)
    left = np.array([-SIZE[0] * 0.08, 0.0, 0.0])
    return replace(found, body=found.body + left, right_hand=found.right_hand + left, left_hand=found.left_hand + left)


def tile(picture: np.ndarray, floor: float, measured: bool = False) -> Image.Image:
    """A pose at the size of the page, with a line at the height that the reference stands at, and what is measured of a picture."""
    shown = Image.fromarray(picture)
    pen = ImageDraw.Draw(shown)
    pen.line((0, floor, SIZE[0], floor), fill=(110, 110, 116), width=3)
    stance = find_stance(torch.from_numpy(picture.copy()) / 255) if measured else None
    if stance:
        pen.line((stance.middle, stance.top, stance.middle, stance.bottom), fill=MARK, width=5)
        for end in (stance.top, stance.bottom):
            pen.line((stance.middle - 24, end, stance.middle + 24, end), fill=MARK, width=5)
    return shown.resize(SHOWN, Image.Resampling.LANCZOS)


def page(rows: Sequence[Sequence[Image.Image]], labels: Sequence[str], reference: Image.Image) -> Image.Image:
    """The reference to the left of two rows of poses, each with its label above."""
    gap, (width, height) = 8, SHOWN
    left = width + 3 * gap
    sheet = Image.new("RGB", (left + len(rows[0]) * (width + gap), len(rows) * (height + LABEL + gap)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=LABEL - 8)
    middle = (sheet.height - height - LABEL) // 2
    pen.text((gap, middle), "the reference", font=font, fill=MARK)
    sheet.paste(reference, (gap, middle + LABEL))
    for i, (tiles, label) in enumerate(zip(rows, labels, strict=True)):
        top = i * (height + LABEL + gap)
        pen.text((left, top + 2), label, font=font, fill=INK)
        for j, one in enumerate(tiles):
            sheet.paste(one, (left + j * (width + gap), top + LABEL))
    return sheet


def aligned_key_points() -> None:
    reference = child()
    clip = [adult("dance", 0.25 + share / 2) for share in SHARES]
    rows = [clip, align(clip, reference, limbs=False).figures, align(clip, reference).figures]
    floor = float(reference.body[[10, 13], 1].max())
    tiles = [[tile(draw_figure(figure), floor) for figure in figures] for figures in rows]
    labels = "the clip", "limbs off: size and place", "limbs on: the reference's proportions too"
    save(page(tiles, labels, tile(draw_figure(reference), floor)), "pose_alignment.png")


def aligned_pictures() -> None:
    reference, clip = draw_figure(child()), [draw_figure(adult("wave", share)) for share in SHARES]
    images, target = (torch.from_numpy(np.stack(pictures)) / 255 for pictures in (clip, [reference]))
    moved = place(images, plan(images, target, *SIZE, "stretch"), *SIZE)
    stance = find_stance(target[0])
    floor = stance.bottom if stance else SIZE[1]
    tiles = [[tile(picture, floor, measured=True) for picture in pictures] for pictures in (clip, moved)]
    save(page(tiles, ("the clip", "moved and scaled"), tile(reference, floor, measured=True)), "pose_alignment_pictures.png")


def motions() -> None:
    """Every motion, playing side by side."""
    width, height = 180, 225
    pages = []
    for frame in range(FRAMES):
        sheet = Image.new("RGB", (len(MOTIONS) * (width + 8) + 8, height + LABEL + 8), PAPER)
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=LABEL - 8)
        for i, motion in enumerate(MOTIONS):
            pen.text((8 + i * (width + 8), 2), motion, font=font, fill=INK)
            drawn = draw_figure(photograph(pose(MOTIONS[motion](frame / FRAMES)), *SIZE))
            sheet.paste(Image.fromarray(drawn).resize((width, height), Image.Resampling.LANCZOS), (8 + i * (width + 8), LABEL))
        pages.append(sheet)
    path = HELP / "pose_motions.webp"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=MILLISECONDS, loop=0, quality=75, method=6)
    say(f"* {path.relative_to(ROOT)}")


def save(sheet: Image.Image, name: str) -> None:
    sheet.save(HELP / name, optimize=True)
    say(f"* {(HELP / name).relative_to(ROOT)}")


def main() -> None:
    aligned_key_points()
    aligned_pictures()
    motions()


if __name__ == "__main__":
    main()
