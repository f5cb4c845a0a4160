"""The small recorded networks as a MODEL."""

import pytest
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.tests.goldens import meta
from cinemo_pack.tests.goldens.animate_anyone.rule import joined
from safetensors.torch import save_file

HEADS = {"num_heads": 2, "motion_heads": 4}  # of the recorded networks, which no shape says


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("animate_anyone") / "tiny.safetensors"
    save_file(joined(meta("animate_anyone/unet_tiny_a.cases")["weights"]), path)
    return str(path)


@pytest.fixture(scope="session")
def tiny(tiny_path):
    return load_unet(tiny_path, "fp32", chosen=HEADS)
