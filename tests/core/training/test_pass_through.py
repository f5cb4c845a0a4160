"""Held weights that pass X_t on: what they do untrained, that they stay while all else trains, and how a run asks for them."""

import json

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.positions import temporal_positions
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod
from cinemo_pack.cinemo_core.training import network
from cinemo_pack.cinemo_core.training.config import Optimizer, UNet
from cinemo_pack.cinemo_core.training.nano.exact import keep_exact
from cinemo_pack.cinemo_core.training.nano.pass_through import hold_again, pass_through
from cinemo_pack.cinemo_core.training.optimiser import make_optimizers
from cinemo_pack.cinemo_core.training.start import make_unet
from safetensors.torch import save_file

CONFIG = UNet(width=96, multipliers=(1.0, 1.0), attention=(True, True)).config(32)


def seen(timestep: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """z0 [1, 1, 4, 8, 8], residual and noise [1, 15, 4, 8, 8], and the noisy residual at a timestep."""
    generator = torch.Generator().manual_seed(timestep)
    z0, residual = torch.randn(1, 1, 4, 1, 1, generator=generator), 0.3 * torch.randn(1, 15, 4, 8, 8, generator=generator)
    z0 = z0 + 0.5 * torch.randn(1, 1, 4, 8, 8, generator=generator)
    noise, alpha = torch.randn(1, 15, 4, 8, 8, generator=generator), alphas_cumprod()[timestep]
    return z0, residual, noise, alpha.sqrt() * residual + (1 - alpha).sqrt() * noise


@torch.no_grad()
def predicted(unet, frames: torch.Tensor, timestep: int) -> torch.Tensor:
    out = unet(frames.flatten(0, 1), torch.full((16,), timestep), torch.randn(1, 77, 32), torch.tensor([90]))
    return out.unflatten(0, (1, 16))[:, 1:]


@pytest.mark.parametrize("timestep", [800, 950, 999])
def test_untrained_it_finds_the_noise_while_noise_prevails(timestep):
    """Random weights err by 1, a network trained from them on 20,000 clips still by 0.01 at the last."""
    unet = network.from_scratch(CONFIG, 0)
    pass_through(unet)
    z0, residual, noise, noisy = seen(timestep)
    error = predicted(unet, torch.cat([z0, noisy + z0], dim=1), timestep) - noise
    assert error.square().mean() < 2e-5 + alphas_cumprod()[timestep] * residual.square().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_takes_z0_out_whatever_the_weights_are_rounded_to(dtype):
    unet = network.from_scratch(CONFIG, 0)
    pass_through(unet)
    z0, _, _, noisy = seen(999)
    unet = unet.to(dtype).float()
    assert (predicted(unet, torch.cat([z0, noisy + z0], dim=1), 999) - noisy).square().mean() < 2e-5


def test_without_subtraction_it_passes_on_what_it_sees():
    unet = network.from_scratch(CONFIG, 0)
    pass_through(unet, subtract=False)
    z0, _, _, noisy = seen(999)
    assert (predicted(unet, torch.cat([z0, noisy], dim=1), 999) - noisy).square().mean() < 2e-5


def test_the_copy_is_held_and_all_else_trains():
    unet = network.from_scratch(CONFIG, 0)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    pass_through(unet)
    made = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    z0, _, noise, noisy = seen(300)
    for _ in range(2):  # what begins at zero stops what is before it in the first step
        unet.zero_grad()
        frames = torch.cat([z0, noisy + z0], dim=1)
        out = unet(frames.flatten(0, 1), torch.full((16,), 300), torch.randn(1, 77, 32), torch.tensor([90]))
        (out.unflatten(0, (1, 16))[:, 1:] - noise).square().mean().backward()
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter -= 1e-3 * parameter.grad.sign()
    not_held = ("norm1", "norm2", "norm3", "norm_temp", "relative_attention_bias")  # set, and held in part at most
    for name, parameter in unet.named_parameters():
        moved = (parameter != made[name]).float().mean()
        assert moved > 0, name
        if not any(part in name for part in not_held):
            assert torch.equal(parameter[made[name] != before[name]], made[name][made[name] != before[name]]), name
    assert (unet.output_blocks[-1][1].norm.weight == 99).sum() == 8


def test_muon_leaves_the_copy_as_it_is():
    """It makes a matrix of the gradient in which all directions are equal; rows of zeros stay so."""
    unet = network.from_scratch(CONFIG, 0)
    pass_through(unet)
    optimizers = make_optimizers(Optimizer(muon_rate=0.02, weight_decay=0.0), unet, torch.device("cpu"), (), network.matrices(unet))
    z0, _, noise, noisy = seen(300)
    frames = torch.cat([z0, noisy + z0], dim=1)
    before = unet.output_blocks[-1][1].transformer_blocks[0].ff.net[2].weight.clone()
    for _ in range(3):
        out = unet(frames.flatten(0, 1), torch.full((16,), 300), torch.randn(1, 77, 32), torch.tensor([90]))
        (out.unflatten(0, (1, 16))[:, 1:] - noise).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert (unet.output_blocks[-1][1].transformer_blocks[0].ff.net[2].weight - before).abs().max() > 0.001
    assert hold_again(unet)


def test_a_run_that_goes_on_from_such_a_network_holds_the_copy_again():
    trained, other = network.from_scratch(CONFIG, 0), network.from_scratch(CONFIG, 0)
    pass_through(trained)
    loaded = network.from_scratch(CONFIG, 1)
    loaded.load_state_dict(trained.half().float().state_dict())
    assert hold_again(loaded) and not hold_again(other)
    z0, _, _, noisy = seen(300)
    out = loaded(torch.cat([z0, noisy + z0], dim=1).flatten(0, 1), torch.full((16,), 300), torch.randn(1, 77, 32), torch.tensor([90]))
    out.square().mean().backward()
    assert not loaded.input_blocks[0][0].weight.grad[:12].any() and loaded.input_blocks[0][0].weight.grad[12:].any()


@torch.no_grad()
def test_under_autocast_what_is_held_stays_exact():
    """bfloat16 rounds the constants of the copy by more than the motion counts at high noise."""
    z0, _, _, noisy = seen(900)
    frames = torch.cat([z0, noisy + z0], dim=1).flatten(0, 1)

    def predicted(unet, cast=False):
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            return unet(frames, torch.full((16,), 900), torch.ones(1, 77, 32), torch.tensor([90]))[1:].float()

    unet = network.from_scratch(CONFIG, 0)
    pass_through(unet)
    exact, rounded = predicted(unet), predicted(unet, cast=True)
    keep_exact(unet)
    assert (rounded - exact).abs().max() > 0.02
    assert (predicted(unet, cast=True) - exact).abs().max() < 1e-3


@torch.no_grad()
def test_every_transformer_begins_with_its_eyes_on_frame_0():
    unet = network.from_scratch(CONFIG, 0)
    pass_through(unet)
    positions = temporal_positions(16, [48], torch.float32, torch.device("cpu"))
    layers = [module for module in unet.modules() if isinstance(module, network.TemporalAttention)]
    tokens = torch.randn(16, 4, 96, generator=torch.Generator().manual_seed(0))
    for layer in layers:
        changes = []
        for frame in (0, 5):
            other = tokens.clone()
            other[frame] += 1
            changes.append((layer(other, positions) - layer(tokens, positions))[10].abs().mean())
        assert changes[0] > 3 * changes[1]


@pytest.mark.parametrize("sizes", [{"width": 64}, {"width": 96, "attention": (False, True)}])
def test_sizes_that_do_not_allow_it_are_refused_and_left_alone(sizes):
    config = UNet(**({"multipliers": (1.0, 1.0), "attention": (True, True)} | sizes)).config(32)
    unet, same = network.from_scratch(config, 0), network.from_scratch(config, 0)
    with pytest.raises(InputError, match=f"has {sizes['width']} channels, .* needs 96 and attention; set unet.width = 96"):
        pass_through(unet)
    assert not hold_again(unet)
    assert all(torch.equal(a, b) for a, b in zip(unet.parameters(), same.parameters(), strict=True))


@pytest.fixture
def asked(table, to_config):
    """A configuration for a UNet of the sizes that allow held weights, with these keys of [model]."""

    def make(**model):
        unet = {"width": 96, "multipliers": [1, 1], "attention": [True, True]}
        return to_config(table | {"unet": unet, "optimizer": {"weight_decay": 0.0}, "model": table["model"] | model})

    return make


def gradient_of_first_layer(unet) -> torch.Tensor:
    out = unet(torch.randn(16, 4, 8, 8), torch.full((16,), 300), torch.randn(1, 77, 32), torch.tensor([90]))
    out.square().mean().backward()
    return unet.input_blocks[0][0].weight.grad[:12]


def test_a_run_holds_nothing_unless_it_says_so(asked):
    """Wide enough or not: the general trainer starts from the identity."""
    unet = make_unet(asked(), 32)
    assert not hold_again(unet)
    assert gradient_of_first_layer(make_unet(asked(held_weights="pass_through"), 32)).abs().max() == 0


def test_a_run_that_starts_from_such_a_checkpoint_holds_it_only_if_it_says_so(asked, tmp_path):
    trained, other = make_unet(asked(held_weights="pass_through"), 32), make_unet(asked(), 32)
    for name, unet in (("trained", trained), ("other", other)):
        (tmp_path / name).mkdir()
        save_file({key: tensor.half().contiguous() for key, tensor in unet.state_dict().items()}, tmp_path / name / "unet.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps({"attention_head_dim": 2}))
    start = str(tmp_path / "trained" / "unet.safetensors")
    assert gradient_of_first_layer(make_unet(asked(start=start, held_weights="pass_through"), 32)).abs().max() == 0
    assert gradient_of_first_layer(make_unet(asked(start=start), 32)).abs().max() > 0
    with pytest.raises(InputError, match='other.unet.safetensors was not trained with model.held_weights = "pass_through", so there is'):
        make_unet(asked(start=str(tmp_path / "other" / "unet.safetensors"), held_weights="pass_through"), 32)
