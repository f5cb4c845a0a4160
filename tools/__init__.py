"""What `dev.py` runs: set-up (standard library only), and the programs that work on a real ComfyUI."""
