"""The command: python -m cinemo_core.training.nano.autoencoder CONFIG.toml"""

import argparse
import sys
from pathlib import Path

from ....errors import CinemoError
from ...config import read_toml
from .config import AutoencoderConfig
from .trainer import train


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cinemo_core.training.nano.autoencoder",
        description="Train a small autoencoder. A stopped run resumes from its last checkpoint.",
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.toml", help="what to train, on what, and how; nano/autoencoder.toml is an example"
    )
    args = parser.parse_args(arguments)
    try:
        train(read_toml(args.config, AutoencoderConfig))
    except KeyboardInterrupt:
        print("autoencoder: interrupted; the last checkpoint is kept.", file=sys.stderr)
        return 130
    except (CinemoError, OSError) as error:
        print(f"autoencoder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
