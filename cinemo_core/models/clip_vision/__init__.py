"""The image tower of CLIP: names, shapes and configuration. ComfyUI has the network."""
