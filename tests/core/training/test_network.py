"""The inference network under gradients, and where training starts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.cinemo import keys
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.sd_unet import blocks
from cinemo_pack.cinemo_core.models.sd_unet.attention import GEGLU, FeedForward
from cinemo_pack.cinemo_core.models.sd_unet.keys import LDM_PREFIX
from cinemo_pack.cinemo_core.training import network
from cinemo_pack.cinemo_core.training.config import Optimizer
from cinemo_pack.cinemo_core.training.optimiser import Slowed, make_optimizer, make_optimizers
from safetensors.torch import save_file
from torch import nn

CONFIG = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 1.5),
    num_res_blocks=(1, 1),
    transformer_depth=(1, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 0, 0),
    context_dim=16,
    num_heads=2,
    motion_dim=8,
)


def filled(seed: int = 0):
    """A UNet in float64, in which no layer is zero, so that no gradient is."""
    unet = network.from_scratch(CONFIG, seed).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in unet.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return unet


def loss_of(unet, frames: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    dtype = unet.out[2].weight.dtype
    x = torch.randn(2 * frames, 4, 6, 4, generator=generator).to(dtype)
    context = torch.randn(2, 7, 16, generator=generator).to(dtype)
    return unet(x, torch.tensor([10, 700]).repeat_interleave(frames), context, torch.tensor([81, 99])).square().mean()


def gradients(unet) -> dict[str, torch.Tensor]:
    unet.zero_grad()
    loss_of(unet).backward()
    return {name: parameter.grad.clone() for name, parameter in unet.named_parameters()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal up to rounding in float64; against the largest, as a bias before a norm has a gradient of rounding errors only."""
    assert found.keys() == expected.keys()
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-10 * gradient.norm() + 1e-13 * largest, name


def test_operations_in_place_have_the_gradients_of_those_out_of_place(monkeypatch):
    """The network saves memory by writing over states and by slices; none of that may change what is learnt."""
    unet = filled()
    found = gradients(unet)

    plain = copy.deepcopy(unet)
    for module in plain.modules():
        if isinstance(module, nn.SiLU):
            module.inplace = False

    def geglu(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)

    def res_block(self, x, step):
        h = self.in_layers[2](self.in_layers[1](self.normalise(self.in_layers[0], x, step)))
        h = h + self.emb_layers(step.emb).repeat_interleave(step.frames, dim=0)[:, :, None, None]
        h = self.out_layers[3](self.out_layers[1](self.normalise(self.out_layers[0], h, step)))
        return h + self.skip_connection(x)

    monkeypatch.setattr(GEGLU, "forward", geglu)
    monkeypatch.setattr(FeedForward, "forward", lambda self, x: self.net(x))
    monkeypatch.setattr(blocks.ResBlock, "forward", res_block)
    assert_same(found, gradients(plain))


def test_gradients_by_finite_differences():
    """Along a random direction of all parameters together."""
    unet = filled()
    generator = torch.Generator().manual_seed(5)
    direction = {name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in unet.named_parameters()}
    inner = sum((gradient * direction[name]).sum() for name, gradient in gradients(unet).items())
    step, values = 1e-6, []
    for sign in (1, -1):
        moved = copy.deepcopy(unet)
        for name, parameter in moved.named_parameters():
            parameter.data += sign * step * direction[name]
        values.append(loss_of(moved).item())
    assert inner.item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_gradient_checkpointing_changes_no_gradient():
    unet = filled()
    found = copy.deepcopy(unet)
    network.checkpoint_gradients(found)
    assert_same(gradients(found), gradients(unet))
    assert found.state_dict().keys() == unet.state_dict().keys()


def test_from_scratch_is_seeded_and_predicts_nothing_yet():
    unet = network.from_scratch(CONFIG, 3)
    assert loss_of(unet).item() == 0.0
    same, other = network.from_scratch(CONFIG, 3), network.from_scratch(CONFIG, 4)
    for (name, a), b, c in zip(unet.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert torch.equal(a, c) == (not a.any() or bool((a == 1).all())), name


def test_the_layers_that_write_the_output_can_be_slowed_and_no_others_are():
    unet = network.from_scratch(CONFIG, 0)
    slowed = [Slowed(layer, 0.1) for layer in network.output_layers(unet)]
    optimizer = make_optimizer(Optimizer(learning_rate=1e-3), unet, torch.device("cpu"), slowed)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    slow = {name for name, p in unet.named_parameters() if rates[id(p)] == pytest.approx(1e-4)}
    layers = ("out.", "output_blocks.3.0.out_layers.", "output_blocks.3.0.skip_connection.", "output_blocks.3.1.proj_out.")
    assert slow == {name for name, _ in unet.named_parameters() if name.startswith(layers)} and len(slow) >= 8
    assert all(rate in (pytest.approx(1e-3), pytest.approx(1e-4)) for rate in rates.values()) and len(rates) == len(list(unet.parameters()))
    assert len(make_optimizer(Optimizer(), unet, torch.device("cpu")).param_groups) == 2


def test_muon_takes_the_matrices_of_the_transformers_and_adamw_the_rest():
    unet = network.from_scratch(CONFIG, 0)
    assert len(make_optimizers(Optimizer(), unet, torch.device("cpu"), (), network.matrices(unet))) == 1
    adamw, muon = make_optimizers(Optimizer(muon_rate=0.01), unet, torch.device("cpu"), (), network.matrices(unet))
    names = {id(p): name for name, p in unet.named_parameters()}
    by_muon, by_adamw = ([names[id(p)] for group in o.param_groups for p in group["params"]] for o in (muon, adamw))
    assert sorted(by_muon + by_adamw) == sorted(names.values())
    assert set(by_muon) == {
        n for n in names.values() if ".transformer_blocks." in n and n.endswith(".weight") and ".norm" not in n and "bias" not in n
    }
    assert {group["lr"] for group in muon.param_groups} == {0.01}


def image_unet(layout: str) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """What LaVie's file or an SD1.x file holds of a Cinemo UNet, and that UNet with the rest taken out of its work."""
    unet = filled(7)
    for module in unet.modules():
        if isinstance(module, network.TemporalAttention) and layout != "lavie":
            network.zero(module.to_out)
    network.zero(unet.motion_embed[2])
    weights = {name: tensor.float() for name, tensor in unet.state_dict().items() if "motion_embed" not in name}
    if layout != "lavie":
        weights = {name: tensor for name, tensor in weights.items() if "_temp." not in name}
    if layout in ("lavie", "sd_diffusers"):
        names = keys.TABLE.to_diffusers(unet.state_dict(), CONFIG)
        weights = {names[name]: tensor for name, tensor in weights.items()}
    if layout == "sd_checkpoint":
        weights = {LDM_PREFIX + name: tensor for name, tensor in weights.items()} | {"first_stage_model.x.weight": torch.zeros(1)}
    return weights, unet


@pytest.mark.parametrize("layout", ["lavie", "sd_diffusers", "sd_ldm", "sd_checkpoint"])
def test_image_and_lavie_unets_start_as_they_were(tmp_path, layout):
    """Whatever is added has no effect yet, and none of it is stuck at that: what follows it learns at once."""
    weights, expected = image_unet(layout)
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text('{"attention_head_dim": 2}')
    unet = network.load(tmp_path, motion_dim=8, seed=0)
    assert unet.config == CONFIG
    assert loss_of(unet).item() == pytest.approx(loss_of(expected.float()).item(), rel=1e-5)
    assert loss_of(unet).item() > 0
    found = gradients(unet)
    assert found["motion_embed.2.weight"].any()
    assert found["input_blocks.1.1.transformer_blocks.0.attn_temp.to_out.0.weight"].any()


def test_a_cinemo_checkpoint_starts_as_it_is(tmp_path):
    unet = filled().float()
    save_file(unet.state_dict(), tmp_path / "cinemo.safetensors")
    loaded = network.load(tmp_path / "cinemo.safetensors", motion_dim=256, seed=0)
    # Not to the last bit: how a sum is split may depend on how its operands are aligned, and those in a mapped file may be anywhere.
    assert loss_of(loaded).item() == pytest.approx(loss_of(unet).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if "out_layers.3" not in k}, "lacks"),
        (lambda w: w | {"extra.weight": torch.zeros(2)}, "has the unknown"),
        (lambda w: {"conv.weight": torch.zeros(3)}, "is an unknown model; model.start needs the UNet of Cinemo, LaVie or"),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    weights, _ = image_unet("sd_ldm")
    save_file(change(weights), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"attention_head_dim": 2}')
    with pytest.raises(CheckpointError, match=message):
        network.load(tmp_path / "model.safetensors", motion_dim=8, seed=0)
