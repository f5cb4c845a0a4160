"""Initial noise as ComfyUI draws it."""

from comfy_extras.nodes_custom_sampler import Noise_RandomNoise


def random_noise(seed: int):
    """ComfyUI's own seeded noise."""
    return Noise_RandomNoise(seed)
