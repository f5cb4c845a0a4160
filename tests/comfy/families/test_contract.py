"""What every family of the table must do, the toy of this folder too."""

import comfy.lora
import comfy.patcher_extension
import comfy.samplers
import comfy.sd
import comfy.supported_models
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui import families as native
from cinemo_pack.cinemo_core.comfyui import stock_loaders
from cinemo_pack.cinemo_core.comfyui.description import check_model
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.low_pass_noise import for_model, patch_model
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.errors import CheckpointError, InputError
from cinemo_pack.cinemo_core.files.checkpoint import shapes_of
from cinemo_pack.cinemo_core.models import families
from cinemo_pack.cinemo_core.models.recognise import describe, family_of, recognise
from cinemo_pack.cinemo_core.models.sd_unet.keys import LDM_PREFIX
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from scipy.fft import dctn

FRAMES, HEIGHT, WIDTH = 5, 6, 10


def sample(model, condition, steps: int = 2, sampler: str = "euler") -> torch.Tensor:
    """Stock sampling, as KSampler does it."""
    positive, negative = condition(FRAMES, HEIGHT, WIDTH)
    noise = torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    ksampler = comfy.samplers.KSampler(model, steps, model.load_device, sampler, "normal")
    with torch.inference_mode():
        return ksampler.sample(noise, positive, negative, cfg=3.0, latent_image=torch.zeros_like(noise), seed=1)


def test_sizes_survive_a_round_trip_through_shapes(example):
    found = example.small.weights()
    config = example.family.config(found)
    assert config == example.small.CONFIG
    assert type(config).from_unet_config(config.unet_config()) == config
    assert example.family.shapes(config) == shapes_of(found)


def test_one_family_and_no_other_claims_its_tensors(example):
    names = list(example.small.weights())
    for prefix in ("", LDM_PREFIX):
        assert [family for family in families.FAMILIES if family.is_mine(prefix + name for name in names)] == [example.family]
    assert family_of(names) is example.family
    assert describe(shapes_of(example.small.weights())) == example.family.words


def test_it_loads_and_samples(example, tmp_path):
    plain, prefixed = (load_unet(example.write(tmp_path / f"{i}.safetensors", prefix), "fp32") for i, prefix in enumerate(("", LDM_PREFIX)))
    assert type(plain.model) is example.description.model_class
    found, same = (sample(model, example.small.condition) for model in (plain, prefixed))
    assert found.isfinite().all() and found.shape == (FRAMES, 4, HEIGHT, WIDTH) and found.std() > 0
    assert (found - same).abs().max() <= 1e-4 * found.abs().max()


def test_a_file_of_another_family_is_refused_by_name(example, tmp_path):
    path = example.write(tmp_path / "a.safetensors")
    for other in families.FAMILIES:
        if other is not example.family:
            with pytest.raises(CheckpointError, match=f"is not {other.words}; it is {example.family.words}"):
                load_unet(path, "fp32", other)


def test_a_model_of_another_family_is_refused_by_name(example, tmp_path):
    model = load_unet(example.write(tmp_path / "a.safetensors"), "fp32")
    check_model(model, example.description)
    for other in native.DESCRIPTIONS:
        if other is not example.description:
            with pytest.raises(
                InputError, match=f"The model is {example.family.name}, not {other.family.name}; load one with {other.loaders}"
            ):
                check_model(model, other)


def test_a_file_that_lacks_a_tensor_is_refused(example):
    whole = example.small.weights()
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors \(out.2.bias\)"):
        recognise("file", {name: tensor for name, tensor in whole.items() if name != "out.2.bias"}, example.family)


def test_stock_loaders_take_it_for_what_it_is(example, tmp_path, monkeypatch):
    monkeypatch.setattr(comfy.supported_models, "models", list(comfy.supported_models.models))
    stock_loaders.register()
    weights = comfy.utils.load_torch_file(example.write(tmp_path / "a.safetensors"))
    model = comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float32})
    assert type(model.model) is example.description.model_class


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp8_e4m3fn", "fp8_e5m2"])
def test_narrow_formats_sample_to_numbers(example, tmp_path, dtype):
    model = load_unet(example.write(tmp_path / "a.safetensors"), dtype)
    assert sample(model, example.small.condition, steps=1).isfinite().all()


def test_comfyui_reaches_every_parameter(example, tmp_path):
    """Its patcher moves and patches those of modules that have no submodules with parameters of their own."""
    network = load_unet(example.write(tmp_path / "a.safetensors"), "fp32").model.diffusion_model
    for name, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        assert not own or len(own) == len(list(module.parameters())), f"{name}: {list(own)}"


def test_a_lora_for_sd_finds_its_layers(example, tmp_path):
    """By the names that ComfyUI's map gives to Stable Diffusion's layers: attention, feed-forward, both middle ResBlocks, upsamplers."""
    model = load_unet(example.write(tmp_path / "a.safetensors"), "fp32")
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    state_dict = model.model.state_dict()
    for name in (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2",
        "lora_unet_mid_block_resnets_1_conv1",
        "lora_unet_up_blocks_0_upsamplers_0_conv",
    ):
        assert keys[name] in state_dict, name
    assert keys["lora_unet_mid_block_resnets_1_conv1"].endswith("middle_block.2.in_layers.2.weight")


def test_patches_see_one_row_for_each_frame_and_condition(example, tmp_path):
    model = load_unet(example.write(tmp_path / "a.safetensors"), "fp32").clone()
    seen = []

    def look(n, context, value, options):
        seen.append((n.shape[0], context.shape[0], options["block"][0], options["n_heads"]))
        return n, context, value

    model.set_model_attn1_patch(look)
    model.set_model_attn2_patch(look)
    sample(model, example.small.condition, steps=1)
    assert {place for _, _, place, _ in seen} == {"input", "middle", "output"}
    assert all(rows == context and rows % FRAMES == 0 for rows, context, _, _ in seen)


def test_dctinit_starts_from_the_low_band_of_the_noised_picture(example, tmp_path):
    """As the network sees it, and at the timestep asked for. Frames that the model pins to the picture keep plain noise."""
    model = load_unet(example.write(tmp_path / "a.safetensors"), "fp32")
    picture = torch.randn(1, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    noise = for_model(model, {"samples": picture}, random_noise(1), LowPass(0.5, 900))
    states, sampling = [], model.get_model_object("model_sampling")
    watched = patch_model(model, noise)
    watched.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.APPLY_MODEL, "first", lambda run, x, *rest, **more: states.append(x) or run(x, *rest, **more)
    )
    sample(watched, example.small.condition)
    pinned = noise.pinned
    assert pinned == (example.family.name == "Cinemo")
    plain = random_noise(1).generate_noise({"samples": torch.zeros(FRAMES, 4, HEIGHT, WIDTH)})[pinned:]
    first = sampling.calculate_input(sampling.sigma_max[None], states[0][-FRAMES:])[pinned:]
    z0 = model.model.process_latent_in(picture).expand_as(plain)
    at = sampling.sigmas[900:901]
    noised = sampling.calculate_input(at, sampling.noise_scaling(at, plain.clone(), z0))
    low = LowPass(0.5).mask(FRAMES - pinned, HEIGHT, WIDTH)[:, None].expand_as(plain).numpy()
    found, wanted, unrefined = (dctn(x.double().numpy(), norm="ortho", axes=(0, 2, 3)) for x in (first, noised, plain))
    assert abs(found - wanted)[low].max() < 1e-4 and abs(found - unrefined)[~low].max() < 1e-4
    assert abs(found - unrefined)[low].max() > 0.01
