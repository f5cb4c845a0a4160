"""Cinemo for ComfyUI: networks, pure functions, and the adapters that join them to ComfyUI."""
