"""The autoencoder's training: it learns, resumes exactly where it was stopped, and writes what loads with latents of unit size."""

import json

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.training import frozen
from cinemo_pack.cinemo_core.training.config import read_toml
from cinemo_pack.cinemo_core.training.nano.autoencoder.__main__ import main
from cinemo_pack.cinemo_core.training.nano.autoencoder.config import AutoencoderConfig
from cinemo_pack.cinemo_core.training.nano.autoencoder.network import RGB_OF_LATENT, Autoencoder, make_vae, set_scale
from cinemo_pack.cinemo_core.training.nano.procedural import TRAINING_SEEDS, render_stills

RECIPE = """
[data]
width = 32
height = 32
workers = 0
[model]
widths = [32, 32, 32, 32]
[optimizer]
learning_rate = 1e-3
ema = 0.5
[run]
output = "{output}"
steps = {steps}
batch = 4
log_every = 1
checkpoint_every = {every}
"""


def run(tmp_path, output: str, steps: int, every: int = 100) -> list[dict]:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(output=output, steps=steps, every=every))
    assert main([str(path)]) == 0
    return [json.loads(line) for line in (tmp_path / output / "losses.jsonl").read_text().splitlines()]


def test_it_learns_and_what_it_writes_loads(tmp_path):
    losses = run(tmp_path, "out", 24)
    assert [line["step"] for line in losses] == list(range(1, 25))
    assert (tmp_path / "out" / "reconstructions.png").is_file()
    vae = frozen.load_vae(tmp_path / "out" / "vae")
    unseen = torch.cat([render_stills(TRAINING_SEEDS + i, 32, 32, 2) for i in range(64)])
    latents = frozen.encode(vae, unseen)
    assert latents.shape == (128, 4, 4, 4)
    assert latents.std().item() == pytest.approx(1.0, abs=0.02)
    untrained = make_vae(read_toml(tmp_path / "recipe.toml", AutoencoderConfig).model.config, 0).eval()
    assert error(vae, unseen) < 0.7 * error(untrained, unseen)


@torch.no_grad()
def error(vae, pictures: torch.Tensor) -> float:
    values = pictures.float() / 127.5 - 1
    return (vae.decode(vae.encode(values).latent_dist.mean).sample - values).square().mean().item()


def test_a_stopped_run_goes_on_exactly(tmp_path):
    whole = run(tmp_path, "whole", 4)
    run(tmp_path, "parts", 2, every=2)
    assert run(tmp_path, "parts", 4, every=2) == whole


def test_scaling_changes_the_latents_and_nothing_else():
    vae = make_vae(AutoencoderConfig(run=None).model.config, 0).eval()
    pictures = render_stills(1, 32, 32, 2).float() / 127.5 - 1
    with torch.no_grad():
        before = vae.encode(pictures).latent_dist
        decoded = vae.decode(before.mean).sample
        set_scale(vae, 3.0)
        after = vae.encode(pictures).latent_dist
        assert torch.allclose(after.mean, 3 * before.mean, atol=1e-5)
        assert torch.allclose(after.std, 3 * before.std, rtol=1e-4)
        assert torch.allclose(vae.decode(after.mean).sample, decoded, atol=1e-4)


def test_the_loss_is_made_of_what_the_configuration_weighs():
    vae = make_vae(AutoencoderConfig(run=None).model.config, 0).eval()
    pictures, noise, levels = render_stills(1, 32, 32, 2).float() / 127.5 - 1, torch.zeros(2, 4, 4, 4), torch.ones(2)
    with torch.no_grad():
        plain = Autoencoder(vae, 0.0, 0.0, 0.0, 0.0)(pictures, noise, levels)
        weighted = Autoencoder(vae, 0.0, 0.0, 2.0, 0.0)(pictures, noise, levels)
        coloured = Autoencoder(vae, 0.0, 3.0, 0.0, 0.0)(pictures, noise, levels)
        latent = vae.encode(pictures).latent_dist.mean
        error = vae.decode(latent).sample - pictures
    patches = pictures.reshape(2, 3, 4, 8, 4, 8).mean(dim=(3, 5))
    colours = [
        error.reshape(2, 3, 4, 8, 4, 8).mean(dim=(3, 5)),
        torch.einsum("bchw,cr->brhw", latent, torch.tensor(RGB_OF_LATENT)) - patches,
    ]
    assert plain["loss"].item() == pytest.approx((error.abs().mean() + error.square().mean()).item(), rel=1e-5)
    expected = sum(part.abs().mean() + part.square().mean() for part in colours)
    assert (coloured["loss"] - plain["loss"]).item() == pytest.approx(3 * expected.item(), rel=1e-4)
    assert (weighted["loss"] - plain["loss"]).item() == pytest.approx(2 * plain["kl"].item(), rel=1e-4)


def test_each_latent_gets_noise_of_its_own_level():
    """In standard deviations of the latents; the encoder's own noise, of a tenth here, comes on top."""
    vae = make_vae(AutoencoderConfig(run=None).model.config, 0).eval()
    vae.quant_conv.bias.data[4:] = 2 * torch.tensor(0.1).log()
    vae.quant_conv.weight.data[4:] = 0
    pictures, noise = render_stills(1, 32, 32, 2).float() / 127.5 - 1, torch.randn(2, 4, 4, 4)
    seen = []
    decode = vae.decode
    vae.decode = lambda latent: seen.append(latent) or decode(latent)
    with torch.no_grad():
        Autoencoder(vae, 0.0, 0.0, 0.0, 0.5)(pictures, noise, torch.tensor([0.0, 0.8]))
        latent = vae.encode(pictures).latent_dist.mean
    strengths = torch.tensor([0.1, (0.1**2 + (0.4 * latent.std()) ** 2) ** 0.5])
    assert torch.allclose(seen[0], latent + strengths.view(2, 1, 1, 1) * noise, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("width = 32", "width = 36"), "data.width is 36; choose a multiple of 8"),
        (("steps = 1", "step = 1"), "run.step is not a key"),
        (("[32, 32, 32, 32]", "[32, 32, 32]"), "model.widths is .* expected a list of 4"),
    ],
)
def test_mistakes_are_reported(tmp_path, change, message):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(output="out", steps=1, every=1).replace(*change))
    with pytest.raises(InputError, match=message):
        read_toml(path, AutoencoderConfig)
