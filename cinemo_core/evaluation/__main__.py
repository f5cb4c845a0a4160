"""The command: python dev.py py -m cinemo_core.evaluation --generated DIR --real DIR --protocol ucf101 --i3d FILE ...

A launcher in front makes it run on many processes: python dev.py py -m torch.distributed.run --standalone
--nproc-per-node 4 -m cinemo_core.evaluation ... (docs/evaluation.md).
"""

import argparse
import os
import sys
from pathlib import Path

from ..errors import CinemoError, InputError
from ..resize import RESIZE_MODES
from .evaluate import evaluate
from .settings import METRICS, PROTOCOLS, STARTS, Settings
from .weights import NETWORKS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cinemo_core.evaluation",
        description="Measure a folder of generated clips, most metrics against a folder of real ones.",
    )
    parser.add_argument("--generated", type=Path, required=True, metavar="DIR", help="videos, or subfolders of frames")
    parser.add_argument("--real", type=Path, metavar="DIR", help="the same, of real clips (for fvd, kvd and fid)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="folder", help="clips and metrics as in the paper (default: every clip)")
    parser.add_argument(
        "--metrics", nargs="+", choices=METRICS, metavar="METRIC", help=f"of {', '.join(METRICS)} (default: the protocol's)"
    )
    parser.add_argument("--clips", type=int, metavar="N", help="videos to take from each folder (default: the protocol's)")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="CSV or JSONL with video, caption (for clipsim)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="input images, named like the clips (for pic; default: first frames)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where the report goes")
    networks = parser.add_argument_group("networks", "local paths; docs/evaluation.md says where each is published")
    for name, network in NETWORKS.items():
        networks.add_argument(f"--{name}", type=Path, metavar="PATH", help=network.title)
    details = parser.add_argument_group("details of the protocol")
    details.add_argument("--frames", type=int, default=16, metavar="N", help="per clip (default: 16)")
    details.add_argument("--width", type=int, default=256, metavar="N", help="pixels that every frame is brought to (default: 256)")
    details.add_argument("--height", type=int, default=256, metavar="N", help="likewise (default: 256)")
    details.add_argument("--resize", choices=RESIZE_MODES, default="cover", help="how (default: cover, which cuts the rest off)")
    details.add_argument("--real-stride", type=int, default=1, metavar="N", help="take every N-th frame of real videos (default: 1)")
    details.add_argument("--real-start", choices=STARTS, default="random", help="where a real clip starts in its video (default: random)")
    details.add_argument("--splits", type=int, default=10, metavar="N", help="parts of the inception score (default: 10)")
    details.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of videos and starts (default: 0)")
    running = parser.add_argument_group("running")
    running.add_argument("--batch-size", type=int, default=4, metavar="N", help="clips per run of a network (default: 4)")
    running.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read clips ahead (default: 0)")
    running.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    return parser.parse_args(arguments)


def make_settings(args: argparse.Namespace) -> Settings:
    """Raises InputError for options that make no sense together."""
    protocol = PROTOCOLS[args.protocol]
    names = [field for field in Settings.__dataclass_fields__ if field not in ("metrics", "clips")]
    metrics = tuple(dict.fromkeys(args.metrics or protocol.metrics))
    return Settings(
        **{name: getattr(args, name) for name in names}, metrics=metrics, clips=protocol.clips if args.clips is None else args.clips
    )


def run(args: argparse.Namespace) -> int:
    settings = make_settings(args)
    if args.output and not os.path.isdir(args.output.parent):
        raise InputError(f"{args.output.parent} is not a folder; create it first.")
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise InputError(f"The evaluation needs accelerate, which cannot be imported ({error}): pip install accelerate.") from error
    state = PartialState(cpu=args.cpu)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != started:
        raise InputError(
            f"{started} processes were started and accelerate made {state.num_processes} of them work together; "
            "where there is no GPU, tell it so with --cpu."
        )
    report = evaluate(settings, {name: getattr(args, name) for name in NETWORKS}, state.device)
    if state.is_main_process:
        print(report.to_text())
        if args.output:
            args.output.write_text(report.to_json(), encoding="utf-8")
    return 1 if report.failed else 0


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    try:
        return run(args)
    except (CinemoError, OSError) as error:
        if os.environ.get("RANK", "0") == "0":  # all processes raise the same; one sentence is enough
            print(f"evaluation: {error}", file=sys.stderr)
        return 1
    finally:
        leave()


def leave() -> None:
    """Take leave of the other processes, if there are any."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
