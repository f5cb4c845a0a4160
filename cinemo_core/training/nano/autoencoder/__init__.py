"""Trains a small image autoencoder of Stable Diffusion's kind: python -m cinemo_core.training.nano.autoencoder CONFIG.toml

Cinemo works in the latents of Stable Diffusion 1.x's VAE. A small Cinemo trained from nothing needs a VAE as small: 4
channels, 8 pixels to a latent, loadable wherever SD 1.x's is.
"""
