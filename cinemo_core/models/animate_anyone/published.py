"""The published sets of Animate Anyone. Standard library only."""

from ..published import PublishedSet

MODELS = "animate_anyone"  # the folder in models/; each folder in it is a set
FILES = ("denoising_unet.pth", "motion_module.pth", "reference_unet.pth", "pose_guider.pth")
SIZE = "about 8.7 GB"  # in float32; it follows from the shapes of the tensors

PUBLISHED = (
    PublishedSet("animate_anyone", "patrolli/AnimateAnyone", MODELS, "AnimateAnyone", FILES, SIZE),
    PublishedSet("musepose", "TMElyralab/MusePose", MODELS, "MusePose", tuple(f"MusePose/{file}" for file in FILES), SIZE),
)
