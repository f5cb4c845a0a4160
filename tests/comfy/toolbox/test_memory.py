"""Little memory: narrow number formats, weights that stay off the device, and running out of memory at the worst moment."""

import comfy.model_management
import comfy.patcher_extension
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.decode import decode_clip
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize

from .conftest import evaluate, node, relative, sample
from .kits import FRAMES, cinemo_and_dynamicrafter, every_family

OUT_OF_MEMORY = torch.OutOfMemoryError("made up by a test")


@cinemo_and_dynamicrafter  # test_animate_anyone.py looks at ReferenceNet's weights too
def test_narrow_weights_differ_by_their_rounding(small_file, clip, capsys):
    """Half of a unit in the last place of a weight is 2^-9 (bf16), 2^-12 (fp16), 2^-4 (e4m3), 2^-3 (e5m2) of its size."""
    unit = {"fp16": 2**-12, "bf16": 2**-9, "fp8_e4m3fn": 2**-4, "fp8_e5m2": 2**-3}
    exact = evaluate(load_unet(small_file, "fp32"), clip)
    errors = {name: relative(evaluate(load_unet(small_file, name), clip), exact) for name in unit}
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()), end="")
    assert errors["fp16"] <= 1e-6  # the rule of drawn.py draws float16 numbers
    assert 0 < errors["bf16"] < errors["fp8_e4m3fn"] < errors["fp8_e5m2"]
    assert all(errors[name] < 4 * unit[name] for name in unit)


@every_family
def test_computing_in_bf16(model, clip):
    """ModelComputeDtype: activations in bf16, weights as they are."""
    narrow = node("ModelComputeDtype", model=model, dtype="bf16")
    seen = set()
    narrow.set_model_patch(lambda h, options: seen.add(h.dtype) or h, "input_block_patch")
    error = relative(evaluate(narrow, clip), evaluate(model, clip))
    assert seen == {torch.bfloat16} and 1e-4 < error < 0.05


@every_family
def test_partly_loaded(small_file, model, clip):
    """Low VRAM: the weights that are cast on their way to the device give the same numbers."""
    partly = load_unet(small_file, "fp32")
    comfy.model_management.load_models_gpu([partly])
    partly.detach()
    partly.load(partly.load_device, lowvram_model_memory=partly.model_size() // 3)
    assert partly.model.model_lowvram and partly.loaded_size() < partly.model_size()
    assert relative(sample(partly, clip), sample(model, clip)) <= 1e-4  # not the bits: they are elsewhere in memory


def rows_seen(model) -> set:
    seen = set()

    def watch(executor, x, *args, **kwargs):
        seen.add(x.shape[0])
        return executor(x, *args, **kwargs)

    model.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, watch)
    return seen


@cinemo_and_dynamicrafter  # Animate Anyone's positive and negative are evaluated one by one anyway, since one has a bank
def test_little_memory_evaluates_prompts_one_by_one(model, clip, monkeypatch):
    expected = sample(model, clip)
    seen = rows_seen(model)
    assert torch.equal(sample(model, clip), expected) and seen == {2 * FRAMES}
    seen.clear()

    def one_byte(device=None, torch_free_too=False):
        return (1, 1) if torch_free_too else 1

    monkeypatch.setattr(comfy.model_management, "get_free_memory", one_byte)
    assert relative(sample(model, clip), expected) <= clip.kit.rounding and seen == {FRAMES}


@every_family
def test_out_of_memory_in_the_network(model, stock_sd, clip):
    """As with Stable Diffusion the error goes up, for ComfyUI to unload its models and say so; then the model works as before."""
    expected = sample(model, clip)
    for patcher in (model.clone(), stock_sd.clone()):
        calls = []

        def fail_late(executor, *args, calls=calls, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise OUT_OF_MEMORY
            return executor(*args, **kwargs)

        patcher.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, fail_late)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            sample(patcher, clip)
        assert len(calls) == 2 and comfy.model_management.is_oom(caught.value)
    comfy.model_management.unload_all_models()
    assert torch.equal(sample(model, clip), expected)


@pytest.fixture(scope="module")
def bundles(drawn):
    """VAEs of the drawn checkpoint: the image VAE and the temporal one."""
    return {decoder: load_bundle(str(drawn), "fp32", decoder)[2] for decoder in ("image", "temporal")}


def fail_once(module, method: str, monkeypatch) -> list:
    """Make the first call of a module's method run out of memory; returns the list of its calls."""
    calls = []
    run = getattr(module, method)

    def wrapped(*args, **kwargs):
        calls.append(args[0].shape)
        if len(calls) == 1:
            raise OUT_OF_MEMORY
        return run(*args, **kwargs)

    monkeypatch.setattr(module, method, wrapped)
    return calls


@pytest.mark.parametrize("decoder", ["image", "temporal"])
def test_out_of_memory_in_the_decoder(bundles, clip, monkeypatch, decoder):
    """Falls back to tiles, an image VAE as VAEDecode does; at this size a tile is the frame, so the picture is the same.

    A temporal decoder still sees its frames together, and VAEDecode lets it see them one by one.
    """
    vae = bundles[decoder]
    with torch.inference_mode():
        expected = decode_clip(vae, clip.samples)
        with monkeypatch.context() as patch:
            calls = fail_once(vae.first_stage_model, "decode", patch)
            found = decode_clip(vae, clip.samples)
            assert len(calls) > 1
        with monkeypatch.context() as patch:
            fail_once(vae.first_stage_model, "decode", patch)
            stock = node("VAEDecode", samples={"samples": clip.samples}, vae=vae)
        assert found.shape == expected.shape == stock.shape
        assert relative(found, expected) <= 1e-5
        if decoder == "image":
            assert torch.equal(found, stock)
        assert torch.equal(decode_clip(vae, clip.samples), expected)


@pytest.mark.parametrize("decoder", ["image", "temporal"])
def test_out_of_memory_in_the_encoder(bundles, clip, monkeypatch, decoder):
    """Cinemo Motion Conditioning encodes in tiles then, as VAEEncode does."""
    vae = bundles[decoder]
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    arguments = (clip.positive, clip.negative, vae, image, ClipSize(64, 64, FRAMES), Motion(9))
    with torch.inference_mode():
        *_, expected = condition_clip(*arguments)
        calls = fail_once(vae.first_stage_model, "encode", monkeypatch)
        *_, found = condition_clip(*arguments)
    assert len(calls) > 1 and relative(found, expected) <= 1e-5
