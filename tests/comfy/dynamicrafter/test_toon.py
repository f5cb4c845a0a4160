"""ToonCrafter's VAE against recorded runs of the official code, and decoding a clip with its two pictures."""

import comfy.ldm.modules.attention
import comfy.model_management
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.decode import decode_clip
from cinemo_pack.cinemo_core.comfyui.dynamicrafter import toon
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.toon import (
    Pictures,
    ToonDecoder,
    decode_with_pictures,
    encode_stages,
    make_toon_vae,
)
from cinemo_pack.cinemo_core.errors import CheckpointError, InputError
from cinemo_pack.cinemo_core.models.dynamicrafter.checkpoint import split
from cinemo_pack.cinemo_core.models.dynamicrafter.toon import expected_shapes
from cinemo_pack.cinemo_core.models.temporal_vae.keys import VAEConfig
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.rule import state_dict
from torch._subclasses.fake_tensor import FakeTensorMode

GOLDEN = "dynamicrafter/toon_decoder"
META = meta(GOLDEN)
TOLERANCE = 1e-5  # relative RMS; the same official code in float64 is 1.1e-6 off


@pytest.fixture(autouse=True)
def without_gradients():
    """As ComfyUI runs nodes."""
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return split(state_dict(META["weights"]["keys"], META["weights"]["weight_seed"], META["weights"]["checksum"])).vae


@pytest.fixture(scope="module")
def vae(weights):
    return make_toon_vae(weights, "The VAE")


@pytest.fixture(scope="module")
def golden():
    return load(GOLDEN)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt()).item()


def test_the_encoder_gives_the_pictures_stages(vae, golden):
    pictures = golden["encoder_input"][[0, -1]]
    for number, found in enumerate(encode_stages(vae.first_stage_model.encoder, pictures)):
        assert error(found, golden[f"ref.{number}"][0].transpose(0, 1)) <= TOLERANCE, number


def test_the_decoder_with_two_pictures(vae, golden):
    stages = [golden[f"ref.{number}"][0].transpose(0, 1) for number in range(5)]
    assert error(vae.first_stage_model.decoder(golden["z"], stages), golden["out"]) <= TOLERANCE


def test_the_decoder_without_pictures_says_so(vae, golden, caplog):
    assert error(vae.first_stage_model.decode(golden["z"]), golden["out_no_reference"]) <= TOLERANCE
    assert "decodes without its two pictures; use Cinemo ToonCrafter Decode" in caplog.text


def test_a_saved_vae_is_whole(vae, weights):
    found = vae.get_sd()
    assert found.keys() == weights.keys() and all(torch.equal(found[name].float(), weights[name]) for name in weights)


def test_each_refinement(vae, golden):
    seen = {}
    refinement = vae.first_stage_model.decoder.attn_refinement
    hooks = [module.register_forward_hook(lambda _, __, out, i=i: seen.update({i: out})) for i, module in enumerate(refinement)]
    stages = [golden[f"ref.{number}"][0].transpose(0, 1) for number in range(5)]
    vae.first_stage_model.decoder(golden["z"], stages)
    for hook in hooks:
        hook.remove()
    assert all(error(seen[number], golden[f"trace.attn_refinement.{number}"]) <= TOLERANCE for number in range(5))


def test_a_clip_is_decoded_as_the_authors_do(vae, golden):
    """The two middle frames are those of a second pass without the frames next to the ends."""
    first, last = ((golden["video"][0].movedim(0, -1)[i][None] + 1) / 2 for i in (0, -1))
    found = decode_with_pictures(vae, golden["z"], Pictures(first, last))
    plain = ((golden["out"] + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert (found - plain)[[0, 1, 4, 5]].abs().max() <= 1e-5
    stages = [golden[f"ref.{number}"][0].transpose(0, 1) for number in range(5)]
    second = ((vae.first_stage_model.decoder(golden["z"][[0, 2, 3, 5]], stages) + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert (found[2:4] - second[1:3]).abs().max() <= 1e-5 < (found - plain)[2:4].abs().max()


def test_pictures_of_another_size_and_a_short_clip(vae, golden):
    first, last = torch.rand(2, 1, 40, 90, 3, generator=torch.Generator().manual_seed(1))
    found = decode_with_pictures(vae, golden["z"][:3], Pictures(first, last))
    assert found.shape == (3, 32, 48, 3) and found.min() >= 0 and found.max() <= 1
    other = decode_with_pictures(vae, golden["z"][:3], Pictures(last, first))
    assert (found - other).abs().max() > 0.1


def test_the_full_size_is_that_of_the_published_one():
    found = expected_shapes(VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=False))
    expected = META["full_size"]["keys"]
    assert {f"first_stage_model.{name}": list(shape) for name, shape in found.items()} == {
        name: list(shape) for name, shape in expected.items()
    }
    assert len(found) == META["full_size"]["n_keys"]


def test_the_memory_of_the_whole_vae_is_counted(vae, weights):
    assert vae.model_size() == sum(tensor.numel() for tensor in weights.values()) * vae.vae_dtype.itemsize


@pytest.mark.parametrize("lost", ["decoder.attn_refinement.2.to_k.weight", "decoder.mid.block_1.mix_factor", "encoder.conv_in.bias"])
def test_a_vae_that_lacks_a_tensor(weights, lost):
    with pytest.raises(CheckpointError, match=rf"The VAE lacks 1 tensors \({lost}\)"):
        make_toon_vae({name: tensor for name, tensor in weights.items() if name != lost}, "The VAE")


def test_what_cannot_be_decoded(vae, golden, monkeypatch):
    pictures = Pictures(torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8, 3))
    with pytest.raises(InputError, match="The VAE is not ToonCrafter's"):
        decode_with_pictures(object(), golden["z"], pictures)
    with pytest.raises(InputError, match="The clip has one frame, expected at least 2"):
        decode_with_pictures(vae, golden["z"][:1], pictures)
    monkeypatch.setattr(toon.comfy.model_management, "get_free_memory", lambda *_: 1000)
    with pytest.raises(InputError, match=r"Decoding 6 frames of 48x32 together takes .* GB, and 0.0 GB are free"):
        decode_with_pictures(vae, golden["z"], pictures)


def test_the_general_decoder_takes_it_too(vae, golden):
    assert decode_clip(vae, golden["z"]).shape == (6, 32, 48, 3)


def test_the_decoder_stays_on_a_gpu(monkeypatch):
    """On tensors that say they are on one and hold no numbers."""
    monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", comfy.ldm.modules.attention.attention_pytorch)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: 1 << 40)
    config = VAEConfig((32, 32, 64, 64), num_res_blocks=1, temporal=False)
    with FakeTensorMode(), torch.device("cuda"):
        decoder = ToonDecoder(config)
        z = torch.empty(6, 4, 8, 16)
        stages = [torch.empty(2, width, 64 >> i, 128 >> i) for i, width in enumerate(config.widths)]
        out = decoder(z, [*stages, torch.empty_like(stages[0])])
        assert out.shape == (6, 3, 64, 128) and out.device.type == "cuda"
