"""Trains nano for large latents, stage by stage: python -m cinemo_core.training.nano.grow_large FOLDER

FOLDER holds autoencoder.toml and motion.toml. Stopped at any time (SIGTERM, Ctrl-C), the same command resumes.
"""

import argparse
import sys
from pathlib import Path

from ...errors import CinemoError
from ..config import read_toml
from . import motion_trainer, sharp_autoencoder
from .camera_clips import encode_missing
from .library import Library


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cinemo_core.training.nano.grow_large", description="Train nano for large latents.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with autoencoder.toml and motion.toml; everything goes there")
    folder = parser.parse_args(arguments).folder.absolute()
    try:
        run(folder)
    except (CinemoError, OSError) as error:
        print(f"nano: {error}", file=sys.stderr)
        return 1
    return 0


def run(folder: Path) -> None:
    """The stages that are left."""
    autoencoder = read_toml(folder / "autoencoder.toml", sharp_autoencoder.SharpConfig)
    motion = read_toml(folder / "motion.toml", motion_trainer.MotionConfig)
    output = Path(autoencoder.run.output)
    if not (output / "finished.json").is_file() and not sharp_autoencoder.train(autoencoder):
        return
    library = Library(Path(autoencoder.library))
    encode_missing(output / "vae", library, Path(motion.data.train), Path(motion.data.held_out), motion.data.sides)
    motion_trainer.train(motion)


if __name__ == "__main__":
    sys.exit(main())
