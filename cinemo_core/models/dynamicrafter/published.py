"""The published checkpoints of DynamiCrafter and ToonCrafter. Standard library only."""

from ..published import PublishedFile

FILE = "model.ckpt"  # a whole training state in float32; its size follows from the shapes of its tensors
SIZE = "about 10.4 GB"
TOON_SIZE = "about 10.5 GB"  # the same, with 16 million parameters more in its VAE
TERMS = "for research and non-commercial use"
TOON_TERMS = "under the license that their page names"  # its authors' code states none for the weights

PUBLISHED = (
    PublishedFile("dynamicrafter_512", "Doubiiu/DynamiCrafter_512", "512x320 pixels", FILE, SIZE, TERMS),
    PublishedFile("dynamicrafter_1024", "Doubiiu/DynamiCrafter_1024", "1024x576 pixels", FILE, SIZE, TERMS),
    PublishedFile("dynamicrafter_256", "Doubiiu/DynamiCrafter", "256x256 pixels", FILE, SIZE, TERMS),
    PublishedFile("dynamicrafter_512_interp", "Doubiiu/DynamiCrafter_512_Interp", "512x320 pixels, first to last frame", FILE, SIZE, TERMS),
    PublishedFile("tooncrafter", "Doubiiu/ToonCrafter", "512x320 pixels, first to last drawing", FILE, TOON_SIZE, TOON_TERMS),
)
