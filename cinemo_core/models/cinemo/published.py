"""The published Cinemo. Standard library only."""

from ..published import Part, Published

UNET = Part("unet", "diffusion_pytorch_model.bin", "the UNet", "3.64 GB")
TEMPORAL_VAE = Part("vae_temporal_decoder", "diffusion_pytorch_model.safetensors", "the temporal VAE", "0.39 GB")
TEXT_ENCODER = Part("text_encoder", "pytorch_model.bin", "the text encoder")
IMAGE_VAE = Part("vae", "diffusion_pytorch_model.bin", "the image VAE")

PUBLISHED = Published("maxin-cn/Cinemo", "Cinemo", (UNET, TEMPORAL_VAE, TEXT_ENCODER), UNET, IMAGE_VAE)
