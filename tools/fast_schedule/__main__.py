"""The commands:

python dev.py py -m tools.fast_schedule search [--evaluations N ...]
    prints rows for TIMESTEPS in cinemo_core/models/cinemo/fast_schedule.py, next to the stored ones
python dev.py py -m tools.fast_schedule measure [--evaluations N ...] [--numbers FILE.json] [--figure FILE.webp]
    measures samplers and schedules on held-out clips

Both run nano on the CPU: the search for minutes, the whole measurement for up to an hour.
"""

import argparse
import json
from pathlib import Path

import torch

from cinemo_core.models.cinemo.fast_schedule import TIMESTEPS
from cinemo_core.models.cinemo.schedule import alphas_cumprod, sigma_of

from ..console import DevError, say
from ..environment import ROOT
from . import clips, measure
from .search import error, search, surrogate_run

FIGURE = ROOT / "docs" / "pictures" / "fewer_evaluations.webp"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py py -m tools.fast_schedule", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, counts, text in (
        (find, tuple(TIMESTEPS), "search for the timesteps of cinemo_fast"),
        (judge, measure.COUNTS, "measure samplers and schedules on held-out clips"),
    ):
        sub = commands.add_parser({find: "search", judge: "measure"}[command], help=text, description=text)
        sub.set_defaults(command=command)
        default = " ".join(map(str, counts))
        sub.add_argument("--evaluations", type=int, nargs="+", default=counts, metavar="N", help=f"2 to 100 (default: {default})")
        if command is judge:
            sub.add_argument("--numbers", type=Path, metavar="FILE.json", help="where the numbers go; those in it are not measured again")
            sub.add_argument("--figure", type=Path, default=FIGURE, metavar="FILE.webp", help="(default: the picture in docs/)")
    return parser.parse_args()


def find(args: argparse.Namespace) -> None:
    nano, tasks = clips.load_nano(), clips.searched_tasks()
    runs = [clips.Clips(nano, tasks, guidance) for guidance in clips.GUIDANCES]
    trajectories = [run.trajectory() for run in runs]
    sigmas = sigma_of(alphas_cumprod()).float()
    table = sigmas.log()
    say("evaluations: timesteps  # error of the surrogate, and of the network, in dB, at " + " and ".join(map(str, clips.GUIDANCES)))
    for count in args.evaluations:
        stored = [TIMESTEPS[count]] if count in TIMESTEPS else []
        rows = [("found", search(count, trajectories, table, known=stored)), *(("stored", row) for row in stored)]
        for name, row in rows:
            guessed = (error(surrogate_run(table[list(row)], trajectory), trajectory.result) for trajectory in trajectories)
            ends = torch.cat([sigmas[list(row)], torch.zeros(1)])
            reached = (error(run.run("dpmpp_2m", ends).flatten(1), known.result) for run, known in zip(runs, trajectories, strict=True))
            both = " and ".join(", ".join(f"{float(each.mean()):.1f}" for each in values) for values in (guessed, reached))
            say(f"    {count}: {row},  # {name}: {both}")


def judge(args: argparse.Namespace) -> None:
    measured = []
    if args.numbers and args.numbers.exists():
        measured = [measure.Measured(**one) for one in json.loads(args.numbers.read_text(encoding="utf-8"))]
    for one in measure.measure(args.evaluations, measured):
        say(one)
        measured.append(one)
        if args.numbers:
            args.numbers.write_text(json.dumps([each._asdict() for each in measured]), encoding="utf-8")
    measure.figure(measured, args.evaluations).save(args.figure, lossless=True, method=6)


def main() -> None:
    args = parse()
    if not all(2 <= count <= 100 for count in args.evaluations):
        raise DevError(f"--evaluations got {args.evaluations}; choose numbers from 2 to 100.")
    args.command(args)


if __name__ == "__main__":
    main()
