"""Which network each metric needs and where it is published. Nothing is downloaded here: people give local paths."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError


@dataclass(frozen=True)
class Published:
    """A network that others publish. width: numbers per clip or frame that it gives; what: the file or folder to get."""

    title: str
    width: int
    what: str
    where: str


NETWORKS = {
    "i3d": Published(
        "the I3D network (Kinetics-400, TorchScript)",
        400,
        "i3d_torchscript.pt",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
    ),
    "c3d": Published(
        "the C3D network (UCF-101, TorchScript)", 101, "c3d_ucf101.pt", "https://www.dropbox.com/s/jxpu7avzdc9n97q/c3d_ucf101.pt"
    ),
    "inception": Published(
        "the Inception v3 network (TorchScript)",
        2048,
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    ),
    "clip": Published(
        "CLIP ViT-B/32 (a transformers folder)", 512, "clip-vit-base-patch32", "https://huggingface.co/openai/clip-vit-base-patch32"
    ),
    "dreamsim": Published(
        "DreamSim (the folder that the dreamsim package fills, or a TorchScript file of its embedding)",
        1792,
        "dreamsim_ensemble_checkpoint.zip",
        "https://github.com/ssundaram21/dreamsim/releases (docs/evaluation.md says how to prepare it)",
    ),
}
NETWORK_OF = {"fvd": "i3d", "kvd": "i3d", "is": "c3d", "fid": "inception", "clipsim": "clip", "pic": "dreamsim"}


def check_weights(metrics: Iterable[str], given: Mapping[str, Path | None]) -> dict[str, Path]:
    """The path of each network that the metrics need. Raises InputError that names every missing one and where it is published."""
    found: dict[str, Path] = {}
    missing: list[str] = []
    for metric in metrics:
        name = NETWORK_OF[metric]
        path = given.get(name)
        if path is not None and os.path.exists(path):
            found[name] = path
            continue
        network = NETWORKS[name]
        problem = f"give it with --{name}" if path is None else f"{path} does not exist or cannot be reached"
        missing.append(f"{metric.upper()} needs {network.title}: {problem} ({network.what}, published at {network.where})")
    if missing:
        raise InputError(f"{'; '.join(missing)}.")
    return found
