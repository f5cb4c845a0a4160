"""Weights in narrow formats on trained weights, those of nano: what keeps its own format, what is scaled, what is refused."""

import logging

import comfy.model_management
import comfy.ops
import comfy.samplers
import comfy.sd
import pytest
import torch
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.comfyui import stock_loaders
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.clip import load_clip
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.comfyui.vae import load_vae
from cinemo_pack.cinemo_core.errors import CheckpointError
from comfy.cli_args import args
from comfy.quant_ops import QuantizedTensor
from safetensors.torch import load_file, save_file

UNET = included.FOLDER / "unet" / "diffusion_pytorch_model.safetensors"
VAE = included.FOLDER / "vae" / "diffusion_pytorch_model.safetensors"
# One evaluation, relative RMS of the motion; 0.067 and 0.153 were seen (0.77 for e4m3fn while one convolution was below its normals).
BOUNDS = {"fp8_e4m3fn": 0.1, "fp8_e5m2": 0.2}
LINEAR = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
CONVOLUTION = "mid_block.resnets.0.conv1.weight"
DIFFUSERS_ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1."


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def nano():
    """MODEL in fp32 and a noisy clip, its image drawn as smooth colours."""
    with torch.inference_mode():
        model, clip, vae = load_bundle(str(included.FOLDER), "fp32")
        generator = torch.Generator().manual_seed(0)
        colours = torch.rand(1, 3, 6, 6, generator=generator)
        image = torch.nn.functional.interpolate(colours, size=(64, 64), mode="bilinear").movedim(1, -1)
        positive, negative = ([[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in ("the camera pans left", ""))
        positive, negative, still = condition_clip(positive, negative, vae, image, ClipSize(64, 64, 6), Motion(12))
        noise = torch.randn(still.shape, generator=generator)
    return model, positive, negative, still, noise


def motion(nano, model=None, sigma: float = 2.0) -> torch.Tensor:
    """The clean motion that a model answers to one noise level."""
    original, positive, negative, still, noise = nano
    model = original if model is None else model
    with torch.inference_mode():
        frames = comfy.samplers.sample(
            model,
            noise,
            positive,
            negative,
            1.0,
            model.load_device,
            comfy.samplers.ksampler("euler"),
            torch.tensor([sigma, 0.0]),
            model_options=model.model_options,
            latent_image=still,
            disable_pbar=True,
            seed=0,
        )
    return (frames - still)[1:]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).square().mean() / expected.square().mean()).sqrt().item()


def formats(network: torch.nn.Module) -> dict[str, torch.dtype]:
    return {name: parameter.dtype for name, parameter in network.named_parameters()}


def changed(tmp_path, **factors: float) -> str:
    """Nano's UNet as a float32 file, with some tensors multiplied."""
    weights = {name: tensor.float() for name, tensor in load_file(UNET).items()}
    for name, factor in factors.items():
        weights[name] *= factor
    save_file(weights, tmp_path / "changed.safetensors")
    return str(tmp_path / "changed.safetensors")


@pytest.fixture
def stock_unet(tmp_path, monkeypatch):
    """Loads a file as Load Diffusion Model does, with the pack's registration."""
    monkeypatch.setattr(comfy.supported_models, "models", list(comfy.supported_models.models))
    stock_loaders.register()
    return comfy.sd.load_diffusion_model


@pytest.mark.parametrize("name", BOUNDS)
def test_8_bits_keep_the_motion(nano, name, capsys):
    narrow = load_unet(str(UNET), name)
    error = relative(motion(nano, narrow), motion(nano))
    with capsys.disabled():
        print(f"\n{name} {error:.3f}", end="")
    assert 0.01 < error < BOUNDS[name]


@pytest.mark.parametrize("name", BOUNDS)
def test_norms_biases_tables_and_ends_keep_their_own_format(name):
    dtype = {"fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}[name]
    found = formats(load_unet(str(UNET), name).model.diffusion_model)
    own = {name for name, held in found.items() if held == torch.float16}
    assert all(found[name] == dtype for name in found.keys() - own)
    vectors = {name for name in found if name.endswith("bias") or "norm" in name or ".in_layers.0." in name or ".out_layers.0." in name}
    ends = {"input_blocks.0.0.weight", "out.0.weight", "out.2.weight"}
    embeddings = {f"{which}_embed.{layer}.weight" for which in ("time", "motion") for layer in (0, 2)}
    tables = {name for name in found if name.endswith("relative_attention_bias.weight")}
    weights = load_unet(str(UNET), "fp16").model.diffusion_model.state_dict()
    # At the level of 1e-3, and in rows below it, e4m3fn has no digits.
    drowned = {name for name, weight in weights.items() if weight.ndim > 1 and smallest_row(weight) < 0.005}
    small = drowned if name == "fp8_e4m3fn" else set()
    assert "output_blocks.7.1.proj_out.weight" in drowned
    assert own == vectors | ends | embeddings | tables | small


def smallest_row(weight: torch.Tensor) -> float:
    """Root mean square of the weights of an output, the smallest that is not zero."""
    sizes = weight.float().flatten(1).square().mean(dim=1).sqrt()
    return sizes[sizes > 0].min().item()


def test_what_keeps_its_format_for_being_small_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        load_unet(str(UNET), "fp8_e4m3fn")
    (said,) = [record.message for record in caplog.records if "too small for" in record.message]
    assert "too small for float8_e4m3fn, so in the format of the file: " in said
    assert "output_blocks.7.1.proj_out.weight" in said


@pytest.mark.parametrize("flag", ["fp8_e4m3fn", "fp8_e5m2"])
def test_the_servers_flag_is_the_same_choice(nano, flag, monkeypatch, stock_unet, tmp_path):
    """`--fp8_...-unet`, for our loader's default, and for ComfyUI's own loader of a file that it saved."""
    narrow = load_unet(str(UNET), flag)
    comfy.sd.save_checkpoint(str(tmp_path / "saved.safetensors"), load_unet(str(UNET), "fp16"))
    monkeypatch.setattr(args, f"{flag}_unet", True)
    for found in (load_unet(str(UNET)), stock_unet(str(tmp_path / "saved.safetensors"))):
        assert formats(found.model.diffusion_model) == formats(narrow.model.diffusion_model)
        assert relative(motion(nano, found), motion(nano, narrow)) <= 1e-5


def test_a_saved_narrow_model_loads_as_it_was(nano, tmp_path):
    narrow = load_unet(str(UNET), "fp8_e4m3fn")
    comfy.sd.save_checkpoint(str(tmp_path / "saved.safetensors"), narrow)
    found = load_unet(str(tmp_path / "saved.safetensors"), "fp8_e4m3fn")
    assert formats(found.model.diffusion_model) == formats(narrow.model.diffusion_model)
    assert relative(motion(nano, found), motion(nano, narrow)) <= 1e-5


def test_powers_of_two_are_no_weights(monkeypatch):
    monkeypatch.setattr(args, "fp8_e8m0fnu_unet", True)
    with pytest.raises(CheckpointError, match="powers of two alone, without sign or zero; start ComfyUI without --fp8_e8m0fnu-unet"):
        load_unet(str(UNET))


@pytest.fixture
def far(tmp_path):
    """The same network with one query weight beyond 448, its keys as much smaller."""
    return changed(tmp_path, **{f"{DIFFUSERS_ATTENTION}to_q.weight": 4096.0, f"{DIFFUSERS_ATTENTION}to_k.weight": 1 / 4096})


def test_a_linear_weight_beyond_the_range_is_scaled(nano, far, tmp_path, stock_unet):
    """In ComfyUI's own layout: it saves it, both loaders read that, and a patch applies."""
    scaled = load_unet(far, "fp8_e4m3fn")
    layer = scaled.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn1.to_q
    assert isinstance(layer.weight, QuantizedTensor) and layer.weight._qdata.dtype == torch.float8_e4m3fn
    answer = motion(nano, scaled)
    assert 0.01 < relative(answer, motion(nano)) < BOUNDS["fp8_e4m3fn"]

    path = str(tmp_path / "saved.safetensors")
    comfy.sd.save_checkpoint(path, scaled)
    for found in (load_unet(path), load_unet(path, "fp8_e4m3fn"), stock_unet(path)):
        assert relative(motion(nano, found), answer) <= 1e-2

    delta = {f"diffusion_model.{LINEAR}": ("diff", (16384 * torch.eye(96),))}
    exact, patched = load_unet(far, "fp32"), scaled.clone()
    for model in (exact, patched):
        model.add_patches(delta)
    assert relative(motion(nano, exact), motion(nano)) > 0.2
    assert relative(motion(nano, patched), motion(nano, exact)) < BOUNDS["fp8_e4m3fn"]


@pytest.mark.parametrize(
    ("name", "factor", "dtype", "message"),
    [
        (CONVOLUTION, 1e5, "fp8_e4m3fn", "float8_e4m3fn, which ends at 448: middle_block.0.in_layers.2.weight reaches"),
        (CONVOLUTION, 1e7, "fp8_e5m2", "float8_e5m2, which ends at 57344: middle_block.0.in_layers.2.weight reaches"),
        (CONVOLUTION, 1e7, "fp16", "float16, which ends at 65504: middle_block.0.in_layers.2.weight reaches"),
        ("conv_norm_out.bias", 1e5, "fp16", "float16, which ends at 65504: out.0.bias reaches"),
        (f"{DIFFUSERS_ATTENTION}to_q.weight", float("nan"), "fp8_e4m3fn", "attn1.to_q.weight reaches nan"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(tmp_path, name, factor, dtype, message):
    with pytest.raises(CheckpointError, match=message) as error:
        load_unet(changed(tmp_path, **{name: factor}), dtype)
    assert str(error.value).endswith(".") and len(str(error.value)) < 400


@pytest.mark.parametrize("name", BOUNDS)
def test_text_encoder(name, monkeypatch):
    """`--fp8_...-text-enc`: norms, biases and embeddings keep their own format; the text keeps its meaning."""
    folder = included.FOLDER / "text_encoder"
    exact = load_clip(folder)
    monkeypatch.setattr(args, f"{name}_text_enc", True)
    narrow = load_clip(folder)
    held = formats(narrow.cond_stage_model.clip_l.transformer.text_model)
    assert {dtype for key, dtype in held.items() if "norm" in key or "bias" in key or "embedding" in key} == {torch.float16}
    assert {dtype for key, dtype in held.items() if key.endswith(("proj.weight", "fc1.weight", "fc2.weight"))} <= {
        torch.float16,
        {"fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}[name],
    }
    found, expected = (clip.encode_from_tokens(clip.tokenize("the camera pans left")) for clip in (narrow, exact))
    assert relative(found, expected) < BOUNDS[name]


def test_text_encoder_beyond_the_range(tmp_path, monkeypatch):
    weights = {name: tensor.float() for name, tensor in load_file(included.FOLDER / "text_encoder" / "model.safetensors").items()}
    name = next(name for name in weights if name.endswith("fc1.weight"))
    save_file(weights | {name: weights[name] * 1e5}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((included.FOLDER / "text_encoder" / "config.json").read_bytes())
    monkeypatch.setattr(args, "fp8_e4m3fn_text_enc", True)
    with pytest.raises(CheckpointError, match="The text encoder .* in float8_e4m3fn, which ends at 448: .*fc1.weight reaches"):
        load_clip(tmp_path)


def test_vae(tmp_path, monkeypatch):
    """`--fp16-vae`: nano's fits, one with a weight beyond 65504 does not."""
    monkeypatch.setattr(args, "fp16_vae", True)
    assert load_vae(str(VAE)).vae_dtype == torch.float16
    weights = {name: tensor.float() for name, tensor in load_file(VAE).items()}
    save_file(weights | {"decoder.conv_in.bias": weights["decoder.conv_in.bias"] + 1e5}, tmp_path / "vae.safetensors")
    with pytest.raises(CheckpointError, match="The VAE .* cannot be held in float16, which ends at 65504: decoder.conv_in.bias reaches"):
        load_vae(str(tmp_path / "vae.safetensors"))
