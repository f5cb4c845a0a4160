"""Where ComfyUI looks for checkpoint folders, found without importing it."""

from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError

DIFFUSERS = Path("models", "diffusers")
CHECKPOINTS = Path("models", "checkpoints")


def default_destination(pack: Path | None = None, models: Path = DIFFUSERS) -> Path:
    """The folder `models` of the ComfyUI that the pack (by default this one) is installed in, else of the one that Python could import.

    Raises InputError if there is neither.
    """
    pack = pack or Path(__file__).absolute().parents[2]
    if pack.parent.name == "custom_nodes":
        return pack.parent.parent / models
    spec = find_spec("folder_paths")  # ComfyUI's module that knows the folders; it is only located, not run
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / models
    raise InputError(
        f"{pack} does not lie in the custom_nodes folder of a ComfyUI; "
        f"give ComfyUI's folder of checkpoints: --dest .../ComfyUI/{models.as_posix()}."
    )
