"""The small reference UNet on plain torch operations."""

import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.cinemo_core.models.cinemo import keys
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.cinemo.unet import CinemoUNet
from cinemo_pack.tests.goldens import tiny_a_state_dict


def attention(q, k, v, heads, mask=None, transformer_options=None):
    """ComfyUI's attention contract on torch's own kernel: [n, tokens, heads * d] in and out."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


@pytest.fixture(scope="session")
def tiny_weights() -> dict[str, torch.Tensor]:
    """The state dict of tiny_a under its published (diffusers) names."""
    return tiny_a_state_dict()


@pytest.fixture(scope="session")
def tiny_unet(tiny_weights) -> CinemoUNet:
    state_dict = keys.normalise(tiny_weights)
    config = CinemoConfig.from_state_dict(state_dict)
    unet = CinemoUNet(config, attention=attention, dtype=torch.float32, device="cpu", operations=torch.nn)
    unet.load_state_dict(state_dict)
    return unet.eval().requires_grad_(False)
