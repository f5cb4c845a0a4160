"""The checkpoint that comes with the pack: nano, trained by its own trainer, small enough to lie in the repository (docs/nano.md)."""

from pathlib import Path

ROOT = Path(__file__).parents[1] / "weights"  # offered as one more folder of checkpoints
NAME = "cinemo-nano"
FOLDER = ROOT / NAME
SIZE = (64, 64)  # width and height that it was trained at
