"""Networks, one folder per model family: torch and injected operations, no ComfyUI."""
