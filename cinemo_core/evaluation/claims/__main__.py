"""The command: python dev.py evaluate [--checkpoint DIR] [--ablation DIR] [--output DIR]."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ... import included
from ...errors import CinemoError, InputError
from ...files.folder import read_bundle
from ...motion.buckets import BUCKETS, SAME_BUCKET
from ...training.objective import DIRECT, RESIDUAL
from . import cases, claims, figure
from .animate import Animator, Task, load_animator, with_unet
from .pictures import recognisable

CLAIMS = ("buckets", "captions", "consistency", "noise")
PICTURES = "pictures"  # no claim of the paper: what is asked of nano, and measured where it is named
NOISES = 3  # of each picture where two ways are compared: what they change is small against what another noise does
MISSING = "not measured: weights/ablation is only in the repository of this pack; copy it from there, or give a pair with --ablation"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py evaluate", description="Measure what the paper claims of Cinemo on a checkpoint.")
    parser.add_argument("--checkpoint", type=Path, default=included.FOLDER, metavar="DIR", help="a whole checkpoint folder (default: nano)")
    parser.add_argument(
        "--ablation",
        type=Path,
        default=included.ABLATION,
        metavar="DIR",
        help="a folder with two equally trained checkpoints, residual/ and direct/ (default: the repository's)",
    )
    parser.add_argument(
        "--claims",
        nargs="+",
        choices=(*CLAIMS, PICTURES),
        default=CLAIMS,
        metavar="CLAIM",
        help=f"some of {', '.join(CLAIMS)} (default: these), {PICTURES}",
    )
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="where table, numbers and figure go")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="width and height of the pictures (default: 64)")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="pictures and seeds per measure (default: 20)")
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="DDIM steps (default: 25)")
    parser.add_argument("--cfg", type=float, default=1.4, metavar="X", help="guidance (default: 1.4; the authors use 7.5)")
    parser.add_argument(
        "--negative-bucket",
        type=int,
        choices=range(SAME_BUCKET, BUCKETS),
        default=0,
        metavar="B",
        help="motion that guidance leads away from (default: 0, a still picture; -1 is the clip's own, as the authors do)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def evaluate(args: argparse.Namespace) -> list[claims.Row]:
    animator = predicts(load_whole(args, args.checkpoint), RESIDUAL, args.checkpoint)
    pair = load_pair(args, animator) if "consistency" in args.claims else None
    camera = cases.camera_cases(args.size, args.seeds)
    mixed = cases.spread(camera, args.seeds)  # every motion of the camera, and every kind of picture
    rows = []
    if "buckets" in args.claims:
        rows += claims.bucket_control(animator, cases.bucket_cases(camera, args.seeds), with_progress("buckets"))
    if "captions" in args.claims:
        text = camera + cases.thing_cases(args.size, args.seeds) + cases.cloud_cases(args.size, args.seeds)
        rows += claims.text_control(animator, text, with_progress("captions"))
    if "consistency" in args.claims:
        if pair:
            rows += claims.consistency(*pair, mixed, NOISES, with_progress("consistency"))
        else:
            rows.append(claims.Row(claims.CONSISTENCY, claims.IDENTITY, MISSING, claims.CONSISTENCY_BAR, False))
    if "noise" in args.claims:
        rows += claims.initial_noise(animator, mixed * NOISES, with_progress("initial noise"))
    if PICTURES in args.claims:
        moving = camera + cases.thing_cases(args.size, args.seeds)
        rows += recognisable(animator, moving, args.size, args.seeds, with_progress(PICTURES))
    return rows


def load_whole(args: argparse.Namespace, folder: Path) -> Animator:
    return load_animator(folder, torch.device(args.device), args.steps, args.cfg, args.negative_bucket)


def load_pair(args: argparse.Namespace, around: Animator) -> tuple[Animator, Animator] | None:
    """The equally trained residual and direct checkpoint. One that is a UNet alone gets the other parts of `around`.

    None where neither is asked for and the repository's pair is not here. Raises InputError where one predicts something else.
    """
    if args.ablation == included.ABLATION and not included.ABLATION.is_dir():
        return None

    def load(prediction: str) -> Animator:
        bundle = read_bundle(args.ablation / prediction)
        animator = load_whole(args, bundle.folder) if bundle.text_encoder else with_unet(around, bundle)
        return predicts(animator, prediction, bundle.folder)

    return load(RESIDUAL), load(DIRECT)


def predicts(animator: Animator, prediction: str, folder: Path) -> Animator:
    """The animator, if its UNet was trained for this. Raises InputError otherwise."""
    if animator.prediction != prediction:
        raise InputError(f"{folder} was trained with {animator.prediction} prediction; here one of {prediction} prediction is needed.")
    return animator


def with_progress(name: str) -> claims.Clips:
    """Makes clips and shows how many are done."""
    from tqdm import tqdm

    def clips(animator: Animator, tasks: Sequence[Task]) -> list[np.ndarray]:
        return list(tqdm(animator.animate(tasks), total=len(tasks), desc=name, dynamic_ncols=True))

    return clips


def table(rows: Sequence[claims.Row]) -> str:
    """Markdown, a line per measure."""
    lines = [f"| {row.claim} | {row.measure} | {row.result} | {row.bar} | {'yes' if row.passed else 'NO'} |" for row in rows]
    return "\n".join(["| claim of the paper | measure | result | bar | reached |", "|---|---|---|---|---|", *lines])


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    try:
        if args.size % 8 or args.size < 32:
            raise InputError(f"--size is {args.size}; choose a multiple of 8 from 32 on.")
        args.output.mkdir(parents=True, exist_ok=True)
        rows = evaluate(args)
    except (CinemoError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    numbers = {"settings": settings, "rows": [asdict(row) for row in rows]}
    (args.output / "claims.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    (args.output / "claims.md").write_text(table(rows) + "\n", encoding="utf-8")
    figure.draw_claims(rows).save(args.output / "claims.png")
    print(table(rows))
    missed = [row.measure for row in rows if not row.passed]
    print(f"verdict: {'every bar is reached' if not missed else 'missed: ' + '; '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
