"""Decoding of a clip on a CPU: the memory that it takes, tiles and their seams, progress, a single picture."""

import comfy.diffusers_convert
import comfy.model_management
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.comfyui.decode import CHUNK, SHARE, TILES, decode_clip, memory_of, tile_for_cpu
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize, encode_images, fit
from cinemo_pack.cinemo_core.comfyui.vae import is_temporal, load_vae
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.claims.cases import held_out_photographs
from cinemo_pack.cinemo_core.models.temporal_vae import keys
from safetensors.torch import load_file, save_file

SIDE = 40  # latents; larger than the smallest tile


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """Nano's trained VAE as a temporal one, whose layers over time, and second blocks, pass on what they get."""
    image = comfy.diffusers_convert.convert_vae_state_dict(load_file(included.FOLDER / "vae" / "diffusion_pytorch_model.safetensors"))
    weights = {}
    widths = keys.read_config({name: tensor.shape for name, tensor in image.items()}).widths
    for entry in keys.entries(keys.VAEConfig(widths, num_res_blocks=2, temporal=True)):
        inert = torch.zeros(entry.shape)
        if "time_mix_conv.weight" in entry.ldm:
            inert[range(3), range(3), 1] = 1.0
        weights[entry.ldm] = image.get(entry.ldm, inert).float().contiguous()
    weights |= {name: tensor.float().contiguous() for name, tensor in image.items() if "quant_conv" in name}
    path = tmp_path_factory.mktemp("temporal") / "vae.safetensors"
    save_file(weights, path)
    loaded = load_vae(str(path))
    assert is_temporal(loaded)
    return loaded


@pytest.fixture(scope="module")
def clip(vae):
    """Two frames of photographs, as latents."""
    photographs = [torch.from_numpy(image)[None] / 255 for _, image in held_out_photographs(SIDE * 8)]
    with torch.inference_mode():
        return torch.cat(
            [encode_images(vae, fit(photograph, ClipSize(SIDE * 8, SIDE * 8, 2)), "one of SD") for photograph in photographs[:2]]
        )


def free(monkeypatch, amount: float) -> None:
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device=None, torch_free_too=False: amount / SHARE * 1.001)


def test_the_largest_tile_that_fits_is_taken(vae, monkeypatch):
    samples = torch.zeros(20, 4, 72, 128)  # 1024x576
    for side in (None, *TILES):
        height, width = (72, 128) if side is None else (min(72, side), side)
        free(monkeypatch, memory_of(vae, CHUNK, height, width))
        assert tile_for_cpu(vae, samples) == side


def test_memory_is_that_of_the_published_decoder():
    """1024x576: 14 frames of 128 channels at full size, five times, in float32."""

    class Published:
        class first_stage_model:
            class decoder:
                class conv_out:
                    in_channels = 128

        vae_dtype = torch.float32

    assert memory_of(Published, 14, 72, 128) == 5 * 128 * 4 * 14 * 1024 * 576


def test_too_little_for_any_tile_is_refused_with_the_size_that_fits(vae, monkeypatch):
    free(monkeypatch, memory_of(vae, CHUNK, 16, 16))
    with pytest.raises(
        InputError, match=r"Decoding 14 frames of 1024x576 together takes .* which hold 128x128; close .*decoder = image"
    ) as error:
        decode_clip(vae, torch.zeros(20, 4, 72, 128))
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_seams_do_not_show(vae, clip, monkeypatch):
    """Tiled and whole differ by a little everywhere, for each tile has its own statistics, but by no step where tiles meet."""
    with torch.inference_mode():
        whole = decode_clip(vae, clip)
        free(monkeypatch, memory_of(vae, 2, 32, 32))
        tiled = decode_clip(vae, clip)
    assert tiled.shape == whole.shape and not torch.equal(tiled, whole)
    difference = tiled - whole
    assert difference.square().mean().sqrt() < 0.03
    detail = (whole[:, :, 1:] - whole[:, :, :-1]).abs().mean()
    for steps in (difference.diff(dim=1).abs().mean(dim=(0, 2, 3)), difference.diff(dim=2).abs().mean(dim=(0, 1, 3))):
        assert steps.max() < 0.5 * detail, "the worst row or column hides in the detail of the picture"


def test_progress_moves_within_a_chunk(vae, clip, monkeypatch):
    """By equal parts: 14 blocks of the decoder, over 2 frames."""
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **kwargs: seen.append((value, total)))
    try:
        with torch.inference_mode():
            decode_clip(vae, clip)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert seen == [(pytest.approx(2 * block / 14, abs=0.01), 2) for block in range(1, 14)] + [(pytest.approx(1.9), 2), (2, 2)]
    assert not any(module._forward_hooks for module in vae.first_stage_model.modules())


def test_a_single_picture(vae, clip):
    """Such as the first_frame of Cinemo Residual Split."""
    with torch.inference_mode():
        picture, frames = decode_clip(vae, clip[:1]), decode_clip(vae, clip)
    assert picture.shape == (1, SIDE * 8, SIDE * 8, 3)
    torch.testing.assert_close(picture, frames[:1], rtol=0, atol=1e-4)
