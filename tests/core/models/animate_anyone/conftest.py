"""The small recorded networks, on plain torch operations."""

from dataclasses import dataclass, replace

import pytest
import torch
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.animate_anyone.keys import REFERENCE, normalise, part
from cinemo_pack.cinemo_core.models.animate_anyone.reference_net import ReferenceNet
from cinemo_pack.cinemo_core.models.animate_anyone.unet import AnimateAnyoneUNet
from cinemo_pack.tests.core.conftest import attention
from cinemo_pack.tests.goldens import meta
from cinemo_pack.tests.goldens.animate_anyone.rule import joined

HEADS = {"num_heads": 2, "motion_heads": 4}  # of the recorded networks


@dataclass(frozen=True)
class Networks:
    config: AnimateAnyoneConfig
    unet: AnimateAnyoneUNet
    reference_net: ReferenceNet


def build(files: dict[str, dict]) -> Networks:
    tensors = normalise(joined(files))
    config = replace(AnimateAnyoneConfig.from_state_dict(tensors), **HEADS)
    factory = {"attention": attention, "dtype": torch.float32, "device": "cpu", "operations": torch.nn}
    unet, reference_net = AnimateAnyoneUNet(config, **factory), ReferenceNet(config, **factory)
    reference_net.load_state_dict(part(tensors, REFERENCE))
    unet.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith(REFERENCE)})
    return Networks(config, unet.eval().requires_grad_(False), reference_net.eval().requires_grad_(False))


@pytest.fixture(scope="session")
def tiny() -> Networks:
    return build(meta("animate_anyone/unet_tiny_a.cases")["weights"])


@pytest.fixture(scope="session")
def reenactment() -> Networks:
    """The face re-enactment set: motion modules within the denoiser's file, a ReferenceNet with a head, two Pose Guiders."""
    files, others = meta("animate_anyone/unet_tiny_a.cases")["weights"], meta("animate_anyone/reenact_tiny_a")["weights"]
    return build(
        {
            "denoising_unet": files["denoising_unet"],
            "motion_module": files["motion_module"],
            "reference_unet": others["reference_unet_3d"],
            "pose_guider1": files["pose_guider"],
            "pose_guider2": others["pose_guider2"],
        }
    )
