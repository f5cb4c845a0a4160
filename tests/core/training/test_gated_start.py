"""The gated start: at every noise level the network gives a x - b F, and training can change nothing of it but F."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod
from cinemo_pack.cinemo_core.training import network
from cinemo_pack.cinemo_core.training.nano.gated_start import SPREAD, first_frame_channels, gated_start, gates

FRAMES = 16
TIMESTEPS = (20, 300, 700, 900, 981)
LEARNT = torch.tensor([1.0, -2.0, 0.5, 0.0])
PLACES = slice(16, 20), slice(20, 24)  # of -F and F among the last transformer's tokens


def config(width: int = 96) -> CinemoConfig:
    return CinemoConfig(4, 4, width, (1, 1), (1, 1), (1, 1), 1, (1, 1, 1, 1), 16, 3 if width == 96 else 2, 8)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def unet():
    made = network.from_scratch(config(), 0)
    gated_start(made, 0)
    return made


@pytest.fixture(scope="module")
def clip() -> tuple[torch.Tensor, torch.Tensor]:
    """X_t, [f, 4, h, w], and x, of all frames but the first."""
    z0, x = drawn(1, 4, 8, 8, seed=0), drawn(FRAMES - 1, 4, 8, 8, seed=1)
    return torch.cat([z0, z0 + x]), x


def run(unet, frames: torch.Tensor, t: int, seed: int = 2) -> torch.Tensor:
    return unet(frames, torch.full((FRAMES,), t), 3 * drawn(1, 77, 16, seed=seed), torch.tensor([90]))[1:]


def test_the_gates_are_those_of_the_best_guess():
    """The error of the noise that is left with F = 0 is b times the unit, for residuals of the spread that is assumed."""
    extra, gate = gates()
    alphas = alphas_cumprod().double()
    s, q = alphas.sqrt(), (1 - alphas).sqrt()
    a = extra + 1
    # e - a (s r + q e), r of deviation SPREAD and e of 1
    left = ((1 - a * q).square() + (a * s * SPREAD).square()).sqrt()
    torch.testing.assert_close(left, gate, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("t", TIMESTEPS)
def test_what_comes_out_is_the_gated_sum(unet, clip, t):
    frames, x = clip
    extra, gate = (values[t].item() for values in gates())
    assert ((run(unet, frames, t) - (1 + extra) * x) / gate).square().mean().sqrt() < 0.1
    bias = list(unet.output_blocks[-1])[1].proj_in.bias
    bias[PLACES[0]], bias[PLACES[1]] = -LEARNT, LEARNT
    found = (((1 + extra) * x - run(unet, frames, t)) / gate).mean(dim=(0, 2, 3))
    torch.testing.assert_close(found, LEARNT, rtol=0.15, atol=0.05)  # the fit of the small gates: 5 % on one processor, 10 % on another


@torch.no_grad()
def test_half_precision_weights_do_the_same(unet, clip):
    frames, x = clip
    unet.load_state_dict({name: tensor.half().float() for name, tensor in unet.state_dict().items()})
    assert ((run(unet, frames, 981) - x) / gates()[1][981]).square().mean().sqrt() < 0.15


@torch.no_grad()
def test_every_frame_gets_the_first_and_how_far_it_is_from_it(unet, clip):
    frames, _ = clip
    seen = []
    list(unet.input_blocks[1])[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    run(unet, frames, 500)
    *first, energy = first_frame_channels(4)
    torch.testing.assert_close(seen[0][:, first], frames[:1].expand(FRAMES, -1, -1, -1), rtol=0, atol=2e-3)
    assert seen[0][0, energy].abs().mean() < 0.2 < 0.8 < seen[0][1:, energy].mean() < 1.2


def test_training_moves_nothing_of_it_but_what_is_learnt(unet, clip):
    """With F's own places silent, a trained network still gives a x: all that was learnt went into F."""
    frames, x = clip
    optimizer = torch.optim.AdamW(unet.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(3):
        (run(unet, frames, 900) - drawn(*x.shape, seed=5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = run(unet, frames, 900)
    transformer = list(unet.output_blocks[-1])[1]
    block = transformer.transformer_blocks[0]
    with torch.no_grad():
        assert ((changed - x) / gates()[1][900]).square().mean().sqrt() > 0.5
        for layer in (transformer.proj_in, block.attn1.to_out[0], block.attn2.to_out[0], block.attn_temp.to_out[0]):
            for places in PLACES:
                layer.weight[places] = 0
                layer.bias[places] = 0
        assert ((run(unet, frames, 900) - x) / gates()[1][900]).square().mean().sqrt() < 0.2


def test_a_network_of_other_sizes_is_refused_and_left_alone():
    unet = network.from_scratch(config(64), 0)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    with pytest.raises(InputError, match="has 64 channels, .* needs 96 and attention"):
        gated_start(unet, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items())
