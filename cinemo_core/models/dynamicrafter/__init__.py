"""DynamiCrafter (arXiv 2310.12190): an SD2.1 UNet inflated in time that reads an image twice, as tokens and as a latent."""
