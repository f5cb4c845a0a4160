"""Cinemo in ComfyUI: the model, its conditioning, sampling, inversion, longer clips, and its checkpoint folder."""
