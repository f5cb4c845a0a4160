"""The recipe of nano, the small model that comes with the pack: python -m cinemo_core.training.nano OUTPUT

Everything is made here: the clips are drawn, the autoencoder, the text encoder and the UNet start from nothing. The stages
are TOML files next to this one; each is an ordinary run of a trainer and resumes where it was stopped.
"""
