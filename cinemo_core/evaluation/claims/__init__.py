"""What the paper claims of Cinemo, measured on a checkpoint: python dev.py evaluate. See docs/claims.md."""
