"""The small recorded DynamiCrafter, with and without gates, on plain torch operations."""

import pytest
import torch
from cinemo_pack.cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.keys import normalise
from cinemo_pack.cinemo_core.models.dynamicrafter.unet import DynamiCrafterUNet
from cinemo_pack.tests.core.conftest import attention
from cinemo_pack.tests.goldens import meta
from cinemo_pack.tests.goldens.rule import state_dict


def build(weights: dict) -> DynamiCrafterUNet:
    tensors = normalise(state_dict(weights["keys"], weights["weight_seed"], weights["checksum"]))
    config = DynamiCrafterConfig.from_state_dict(tensors)
    unet = DynamiCrafterUNet(config, attention=attention, dtype=torch.float32, device="cpu", operations=torch.nn)
    unet.load_state_dict(tensors)
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def plain() -> DynamiCrafterUNet:
    return build(meta("dynamicrafter/unet_tiny_a.cases")["weights"])


@pytest.fixture(scope="session")
def gated() -> DynamiCrafterUNet:
    return build(meta("dynamicrafter/unet_tiny_a.cases")["weights_learnable"])
