"""DynamiCrafter in ComfyUI: the model, its schedule, its conditioning, and sampling as the authors do it."""
