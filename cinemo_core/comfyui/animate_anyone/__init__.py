"""Animate Anyone in ComfyUI: the model, its conditioning, and sampling as the re-implementation does it."""
