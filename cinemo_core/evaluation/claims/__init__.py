"""What the paper claims of Cinemo, measured on a checkpoint: python dev.py evaluate."""
