"""The command: python -m cinemo_core.training CONFIG.toml [--export]"""

import argparse
import logging
import sys
from pathlib import Path

import torch

from ..errors import CinemoError
from .config import read_config
from .trainer import export_last, train


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cinemo_core.training", description="Train Cinemo. A stopped run resumes from its last checkpoint."
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="what to train, on what, and how; see docs/training.md")
    parser.add_argument("--export", action="store_true", help="only export the last checkpoint; the run itself may be under way")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    for package in ("accelerate", "diffusers"):
        if not installed(package):
            print(f"training: {package} is not installed; pip install diffusers accelerate, or run: python dev.py setup", file=sys.stderr)
            return 1
    try:
        config = read_config(args.config)
        if args.export:
            export_last(config)
            return 0
        return 0 if train(config) else 1
    except KeyboardInterrupt:
        print("training: interrupted; what was finished is kept.", file=sys.stderr)
        return 130
    except torch.cuda.OutOfMemoryError as error:
        print(
            f"training: there is not memory enough ({str(error).partition('. ')[0]}); lower run.batch and raise run.accumulation, or set "
            "model.gradient_checkpointing = true.",
            file=sys.stderr,
        )
        return 1
    except (CinemoError, OSError) as error:
        print(f"training: {sentence(error)}", file=sys.stderr)
        return 1


def sentence(error: Exception) -> str:
    """What an error says; from a process that reads clips it comes as a traceback, which it ends."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].removesuffix("\\n")


def installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    sys.exit(main())
