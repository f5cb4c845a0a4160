"""Trains Cinemo (arXiv 2407.15642): motion residuals of video latents, on one machine or many, with accelerate as the engine.

python -m cinemo_core.training CONFIG.toml
"""
