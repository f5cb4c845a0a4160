"""The photographs that nano is trained on: those that scikit-image carries, but for the ones it is measured on."""

import shutil
from pathlib import Path

from ...errors import InputError

TRAINING = (
    "brick.png",
    "camera.png",
    "cell.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


def collect_photographs(folder: Path) -> None:
    """Copy them into a folder. Raises InputError where scikit-image, or one of them, is missing."""
    try:
        import skimage
    except ImportError as error:
        raise InputError(f"The recipe needs scikit-image, which cannot be imported ({error}): pip install scikit-image.") from error
    source = Path(skimage.__file__).parent / "data"
    missing = [name for name in TRAINING if not (source / name).is_file()]
    if missing:
        raise InputError(f"This scikit-image lacks {', '.join(missing)}; install version 0.25 or 0.26.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRAINING:
        shutil.copyfile(source / name, folder / name)
