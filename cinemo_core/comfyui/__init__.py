"""The only code that imports ComfyUI."""
