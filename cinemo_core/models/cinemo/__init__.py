"""Cinemo (arXiv 2407.15642): an SD-1.x UNet inflated with temporal attention that denoises motion residuals."""
