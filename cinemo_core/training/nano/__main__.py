"""The command: python dev.py py -m cinemo_core.training.nano OUTPUT [--stages ...]"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ...errors import CinemoError
from .photographs import collect_photographs

TRAINER = __package__.rpartition(".")[0]
# Stage -> the module that runs it.
STAGES = {
    "autoencoder": f"{__package__}.autoencoder",
    "residual": TRAINER,
    "zooms": TRAINER,
    "ablation_residual": TRAINER,
    "ablation_direct": TRAINER,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cinemo_core.training.nano", description="Train nano from the start. Stopped at any time, the same command resumes."
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for everything; OUTPUT/zooms/export is the checkpoint")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="2 (default) on the CPU, a thread each; 1 for a GPU")
    args = parser.parse_args(arguments)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        collect_photographs(args.output / "photographs")
    except (CinemoError, OSError) as error:
        print(f"nano: {error}", file=sys.stderr)
        return 1
    for stage in args.stages:
        recipe = args.output / f"{stage}.toml"
        shutil.copyfile(Path(__file__).parent / recipe.name, recipe)  # paths in it are relative to its folder
        finished = run_stage(stage, recipe, args.processes)
        if finished.returncode:
            return finished.returncode
    return 0


def run_stage(stage: str, recipe: Path, processes: int) -> "subprocess.CompletedProcess[bytes]":
    """Run a trainer in as many processes as are asked for: on two cores two of one thread do more than one of two."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # as this process finds ComfyUI and the pack
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, "-m", STAGES[stage], str(recipe)], env=environment, check=False)


if __name__ == "__main__":
    sys.exit(main())
