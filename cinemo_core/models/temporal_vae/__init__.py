"""The VAE of Stable Diffusion 1.x and its temporal decoder from Stable Video Diffusion (arXiv 2311.15127)."""
