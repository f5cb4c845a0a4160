"""Looks at a run: animates a few fixed pictures, with the same noise every time, and lays them out on one contact sheet."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..media.errors import BadMedia
from ..media.pictures import cover, read_picture
from ..motion.buckets import LEAST_MOTION_ID, motion_id
from . import frozen, text
from .additions import procedural_picture
from .config import Case, Config
from .sampling import sample
from .seeds import number

SHOWN = 8  # frames of each clip on the sheet
GAP, LINE = 4, 16
BACKGROUND, INK = (24, 24, 28), (230, 230, 230)


class Picture(NamedTuple):
    """A case made ready. image: uint8 [3, h, w]."""

    image: Tensor
    caption: str
    bucket: int


def read_cases(config: Config) -> list[Picture]:
    """The pictures of the configuration. Raises InputError for a file that is no picture."""
    return [read_case(case, config) for case in config.validation.cases]


def read_case(case: Case, config: Config) -> Picture:
    data = config.data
    if not case.image:
        image, caption = procedural_picture(case.seed, data.width, data.height, data.frames)
        return Picture(image, case.caption or caption, case.bucket)
    try:
        return Picture(cover(read_picture(Path(case.image)), data.width, data.height), case.caption, case.bucket)
    except BadMedia as error:
        raise InputError(f"validation.cases names a picture, but {error}; give another.") from None


@torch.no_grad()
def animate(pictures: list[Picture], unet: nn.Module, text_encoder: nn.Module, vae: Any, tokenizer: Any, config: Config) -> list[Tensor]:
    """A clip for each picture, uint8 [f, 3, h, w] on the CPU."""
    options = config.validation
    z0 = frozen.encode(vae, torch.stack([p.image for p in pictures]))
    tokens = tokenizer([*(p.caption for p in pictures), ""]).to(z0.device)
    context = text.encode(text_encoder, tokens)
    by_ssim = config.objective.motion == "ssim"
    ids = [motion_id(p.bucket) if by_ssim else LEAST_MOTION_ID for p in pictures]
    clips = []
    for i, z in enumerate(z0):
        latents = sample(
            unet,
            z[None],
            context[i : i + 1],
            context[-1:],
            ids[i],
            config.data.frames,
            options.steps,
            options.cfg,
            torch.Generator().manual_seed(number(config.run.seed, "validation", i)),
            config.objective.prediction,
            options.initial_noise,
        )
        clips.append(frozen.decode(vae, latents[0]))
    return clips


def contact_sheet(clips: list[Tensor], labels: list[str]) -> Any:
    """A row of frames for each clip, uint8 [f, 3, h, w], its label above: a PIL picture."""
    from PIL import Image, ImageDraw, ImageFont

    frames = clips[0].shape[0]
    shown = [round(i * (frames - 1) / (min(SHOWN, frames) - 1)) for i in range(min(SHOWN, frames))]
    height, width = clips[0].shape[2:]
    row = height + LINE + 2 * GAP
    sheet = Image.new("RGB", (len(shown) * (width + GAP) + GAP, len(clips) * row + GAP), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 4)
    for i, (clip, label) in enumerate(zip(clips, labels, strict=True)):
        draw.text((GAP, i * row + GAP), label, font=font, fill=INK)
        for column, frame in enumerate(shown):
            image = Image.fromarray(clip[frame].permute(1, 2, 0).numpy())
            sheet.paste(image, (GAP + column * (width + GAP), i * row + GAP + LINE))
    return sheet


def write_sheet(sheet: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    sheet.save(partial, format="PNG")
    partial.replace(path)
