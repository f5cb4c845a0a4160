"""What comes with the pack: nano, a small checkpoint trained by its own trainer (docs/nano.md), and the pair that evaluation compares."""

from pathlib import Path

ROOT = Path(__file__).parents[1] / "weights"  # offered as one more folder of checkpoints
NAME = "cinemo-nano"
FOLDER = ROOT / NAME
ABLATION = ROOT / "ablation"  # residual/ and direct/, for evaluation alone; the registry's archive leaves it out
SIZE = (192, 192)  # width and height, the largest that it was trained at
