"""Initial noise and inversion, for whatever network denoises."""
