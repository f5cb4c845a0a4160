"""Weights in other number formats, cast while they are used, partly loaded, saved and loaded again: the same numbers."""

import re

import comfy.model_management
import comfy.sd
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.loading import WEIGHT_DTYPES, load_unet
from cinemo_pack.tests.goldens import tiny_a_state_dict
from safetensors.torch import save_file

from .conftest import animate, assert_same_but_for_rounding, relative_rms

KEPT_OUT_OF_8_BITS = re.compile(r"freqs$|norm|bias|^time_embedding|^add_embedding|^conv_in|^conv_out")


@pytest.mark.parametrize("name", [name for name, dtype in WEIGHT_DTYPES.items() if dtype not in (None, torch.float32)])
def test_weights_cast_on_the_fly_equal_weights_rounded_before(model, clip, tmp_path, name):
    """A narrow format changes the numbers by its rounding and by nothing else; 8 bits leave norms, biases and ends alone."""
    dtype = WEIGHT_DTYPES[name]
    kept = KEPT_OUT_OF_8_BITS if dtype.itemsize == 1 else re.compile("freqs$")
    rounded = {k: v if kept.search(k) else v.to(dtype).float() for k, v in tiny_a_state_dict().items()}
    save_file(rounded, tmp_path / "rounded.safetensors")
    expected = animate(load_unet(str(tmp_path / "rounded.safetensors"), "fp32"), clip)
    narrow = load_unet(model.cached_patcher_init[1][0], name)
    assert {p.dtype for p in narrow.model.diffusion_model.parameters()} == ({dtype, torch.float16} if dtype.itemsize == 1 else {dtype})
    assert_same_but_for_rounding(animate(narrow, clip), expected)


def test_default_dtype_is_comfyuis_choice(model):
    device_dtype = comfy.model_management.unet_dtype(model_params=6_640_484, weight_dtype=torch.float32)
    assert load_unet(model.cached_patcher_init[1][0]).model_dtype() == device_dtype


def test_partly_loaded_equals_fully_loaded(model, tiny_file, clip):
    expected = animate(model, clip)
    partly = load_unet(tiny_file, "fp32")
    device = partly.load_device
    comfy.model_management.load_models_gpu([partly])
    partly.detach()
    partly.load(device, lowvram_model_memory=partly.model_size() // 3)
    assert partly.model.model_lowvram
    assert 0 < partly.loaded_size() < partly.model_size()
    assert_same_but_for_rounding(animate(partly, clip), expected)


def test_patched_while_partly_loaded_equals_patched_weights(model, tiny_file, clip):
    """A patch on a weight that is not resident is applied when the weight is used."""
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    delta = {key: ("diff", (torch.full((64, 64), 0.05),))}
    model.add_patches(delta)
    expected = animate(model, clip)
    partly = load_unet(tiny_file, "fp32")
    partly.add_patches(delta)
    partly.load(partly.load_device, lowvram_model_memory=1)
    assert_same_but_for_rounding(animate(partly, clip), expected)
    unpatched = load_unet(tiny_file, "fp32")
    assert relative_rms(animate(unpatched, clip), expected) > 1e-2


def test_a_file_in_the_wanted_dtype_is_mapped_not_copied(tmp_path):
    """Its tensors share one storage, the mapped file; patching and unpatching leaves the file alone."""
    path = tmp_path / "half.safetensors"
    save_file({k: v.half() for k, v in tiny_a_state_dict().items()}, path)
    before = path.read_bytes()
    patcher = load_unet(str(path), "fp16")
    weights = list(patcher.model.diffusion_model.parameters())
    starts = [w.data_ptr() for w in weights]
    assert max(starts) - min(starts) < len(before)
    key = "diffusion_model.out.2.weight"
    patcher.add_patches({key: ("diff", (torch.ones(4, 64, 3, 3),))})
    comfy.model_management.load_models_gpu([patcher], force_patch_weights=True)
    patcher.detach()
    assert path.read_bytes() == before


def test_made_again_from_its_file(model, clip):
    """What torch.compile, weight hooks and several GPUs ask of a model."""
    make, arguments = model.cached_patcher_init
    again = make(*arguments, disable_dynamic=True)
    assert_same_but_for_rounding(animate(again, clip), animate(model, clip))


def test_model_save_and_load(model, clip, tmp_path):
    """What ModelSave writes: LDM names under `model.diffusion_model.`; the patches of the model are in it."""
    model.add_patches({"diffusion_model.out.2.bias": ("diff", (torch.full((4,), 0.3),))})
    path = tmp_path / "saved.safetensors"
    comfy.sd.save_checkpoint(str(path), model)
    expected = animate(model, clip)
    assert_same_but_for_rounding(animate(load_unet(str(path), "fp32"), clip), expected)


def test_two_checkpoints_share_memory_through_comfyui(tiny_file, clip):
    first, second = load_unet(tiny_file, "fp32"), load_unet(tiny_file, "fp16")
    comfy.model_management.unload_all_models()
    comfy.model_management.load_models_gpu([first, second])
    loaded = comfy.model_management.loaded_models()
    assert first in loaded and second in loaded
    comfy.model_management.free_memory(1e30, first.load_device)
    assert not comfy.model_management.loaded_models()
    assert animate(first, clip).isfinite().all()
