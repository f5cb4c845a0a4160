"""The path of a GPU, walked on a pretended one: devices, types, results, and steps that never wait for the CPU."""

from collections import Counter
from contextlib import nullcontext

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.comfyui.decode import CHUNK, decode_clip
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.toon import Pictures, decode_with_pictures, make_toon_vae
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize, encode_images, fit
from cinemo_pack.cinemo_core.comfyui.vae import is_temporal, load_vae
from cinemo_pack.cinemo_core.models.temporal_vae.keys import VAEConfig
from cinemo_pack.tests import drawn, drawn_dynamicrafter
from cinemo_pack.tests.comfy.families.gpu import CPU, CUDA, OnGPU, Watch, pretended_gpu
from cinemo_pack.tests.comfy.families.walks import CFG, FRAMES, HEIGHT, WIDTH, Setting
from comfy.context_windows import IndexListContextWindow
from safetensors.torch import save_file

# Where nodes keep what they exchange: the CPU, or the GPU with --gpu-only.
PLACES = pytest.mark.parametrize("place", [CPU, CUDA], ids=["default", "gpu-only"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])


@pytest.fixture
def gpu(monkeypatch):
    """The GPU, and answers of ComfyUI's memory management that need a driver. Attention is the one of CUDA, on the CPU too."""
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: 1 << 40)
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *_, **__: None)  # `build` has put them there
    monkeypatch.setattr(comfy.model_management, "cuda_device_context", lambda device: nullcontext())
    monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", comfy.ldm.modules.attention.attention_pytorch)
    with pretended_gpu(monkeypatch) as watch, torch.inference_mode():
        yield watch


def build(example, dtype, device=CUDA, watch: Watch | None = None):
    """The patcher of the model, its weights on this device, as the loader makes it."""
    config = example.description(example.small.CONFIG.unet_config())
    config.set_inference_dtype(dtype, None, device=device)
    state_dict = {name: tensor.to(dtype) for name, tensor in example.small.weights().items()}
    model = config.get_model(state_dict, device=device)
    model.load_model_weights(dict(state_dict), "")
    model.model_sampling.to(device)
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)
    model.current_patcher = patcher
    assert {tensor.device.type for tensor in model.diffusion_model.state_dict().values()} == {device.type}
    if watch:
        patcher.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, watch.step)
    return patcher


def unwelcome(watch: Watch) -> list:
    """float64 anywhere; in an evaluation of the model what waits, and what this pack copies (ComfyUI itself copies the text)."""
    in_step = [f for f in watch.found if f.in_step and (f.what in ("wait", "to the CPU") or f.ours)]
    return [finding for finding in watch.found if finding.what == "float64"] + in_step


def ours(watch: Watch) -> Counter:
    return Counter((finding.what, finding.where) for finding in watch.found if finding.ours)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.cpu().float() - expected.float()).norm() / expected.float().norm()).item()


@PLACES
def test_what_a_family_can_do_it_does_on_a_gpu(walk, gpu, monkeypatch, place):
    """From the inputs of a node to what it gives, with the CPU's result; and whatever a run costs, a step costs no waiting."""
    example, way = walk
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: place)
    on_cpu, on_gpu = build(example, torch.float32, CPU), build(example, torch.float32, CUDA, gpu)
    costs = []
    for steps in (1, 3):
        gpu.found.clear()
        before = gpu.steps
        found = way(on_gpu, Setting(place, steps))
        assert found.dtype == torch.float32 and found.shape == (FRAMES, 4, HEIGHT, WIDTH)
        assert unwelcome(gpu) == [] and gpu.steps - before >= steps
        costs.append(ours(gpu))
    assert costs[1] - costs[0] == Counter()
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: CPU)
    assert relative(found, way(on_cpu, Setting(CPU, 3))) < 1e-3


@DTYPES
@pytest.mark.parametrize("window", [None, [0, 1, 2], [3, 4, 5]], ids=["whole", "first window", "later window"])
def test_a_step_in_half_precision(example, gpu, dtype, window):
    """One evaluation with guidance, of the clip and of windows of it."""
    results = []
    for device in (CUDA, CPU):
        model = build(example, dtype, device).model
        positive, negative = (comfy.sampler_helpers.convert_cond(c) for c in example.small.condition(FRAMES, HEIGHT, WIDTH))
        generator = torch.Generator().manual_seed(2)
        x, latent = (torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=generator).to(device) for _ in range(2))
        conds = comfy.samplers.process_conds(model, x, {"positive": positive, "negative": negative}, device, latent, None, 0)
        options = {"transformer_options": {}}
        if window:
            options["transformer_options"]["context_window"] = IndexListContextWindow(window, dim=0, total_frames=FRAMES)
            x = x[window]
        gpu.found.clear()
        sigma = torch.full((len(x),), 3.0, device=device)
        found = gpu.step(
            comfy.samplers.sampling_function, model, x, sigma, conds["negative"], conds["positive"], CFG, model_options=options, seed=0
        )
        results.append(found)
        assert unwelcome(gpu) == []
    assert results[0].device == CUDA and results[0].dtype == torch.float32 and results[0].shape == x.shape
    assert relative(*results) < 10 * torch.finfo(dtype).eps


@pytest.fixture(params=["image", "temporal"])
def vae(request, tmp_path):
    if request.param == "image":
        return load_vae(str(included.FOLDER / "vae" / "diffusion_pytorch_model.safetensors"))
    save_file(drawn.vae_weights(VAEConfig((32, 32, 32, 32), num_res_blocks=2, temporal=True)), tmp_path / "vae.safetensors")
    return load_vae(str(tmp_path / "vae.safetensors"))


@PLACES
def test_pictures_are_encoded_on_a_gpu(vae, gpu, monkeypatch, place):
    """As for the conditioning of a clip, a picture at another size than the clip."""
    pictures = torch.rand(2, 48, 40, 3, generator=torch.Generator().manual_seed(4))
    size = ClipSize(40, 32, frames=2)
    expected = encode_images(vae, fit(pictures, size), "another")
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: place)
    vae.device, vae.output_device = CUDA, place
    vae.first_stage_model.to(CUDA)
    gpu.found.clear()
    found = encode_images(vae, fit(pictures.to(place), size), "another")
    assert found.device == place and not [f for f in gpu.found if f.what == "float64"]
    assert relative(found, expected) < 1e-3


@PLACES
def test_a_clip_is_decoded_on_a_gpu(vae, gpu, place):
    """A chunk is copied there and back, where nodes do not keep it there anyway, and nothing waits within."""
    clip = torch.randn(2 * CHUNK, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    expected = decode_clip(vae, clip)
    vae.device, vae.output_device = CUDA, place
    vae.first_stage_model.to(CUDA)
    costs = []
    for frames in (CHUNK, 2 * CHUNK):
        gpu.found.clear()
        images = decode_clip(vae, clip[:frames].to(place))
        assert images.device == place and not [f for f in gpu.found if f.what == "float64"]
        costs.append(Counter(f.what for f in gpu.found))
    assert relative(images, expected) < 1e-3
    copies = {"to the GPU": 1, "to the CPU": 1} if place == CPU else {}
    if is_temporal(vae):
        assert costs[1] - costs[0] == Counter(copies)
    assert (costs[1] - costs[0])["wait"] == 0


@PLACES
def test_tooncrafter_decodes_between_two_pictures_on_a_gpu(gpu, monkeypatch, place):
    """Both passes with the CPU's result; the latents are copied once a pass, and the pictures once."""
    vae = make_toon_vae({name: tensor.float() for name, tensor in drawn_dynamicrafter.toon_vae().items()}, "The VAE")
    clip = torch.randn(FRAMES, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    ends = torch.rand(2, 1, 40, 32, 3, generator=torch.Generator().manual_seed(4))
    expected = decode_with_pictures(vae, clip, Pictures(*ends))
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: place)
    vae.device, vae.output_device = CUDA, place
    vae.first_stage_model.to(CUDA)
    gpu.found.clear()
    found = decode_with_pictures(vae, clip.to(place), Pictures(*ends.to(place)))
    assert found.device == place and not [f for f in gpu.found if f.what == "float64"]
    assert relative(found, expected) < 1e-3
    if place == CPU:
        copies = Counter(f.what for f in gpu.found if f.ours)
        assert copies["to the GPU"] == 3 and copies["to the CPU"] == 2


def test_what_a_gpu_refuses_and_what_makes_it_wait_is_seen(gpu):
    """The pretended GPU itself."""
    x = torch.randn(3, 4).to(CUDA)
    assert isinstance(x, OnGPU) and x.device == CUDA and (x + 1).device == CUDA and x.cpu().device == CPU
    assert torch.zeros(2, device=CUDA).device == CUDA and torch.equal((x * torch.tensor(2.0)).cpu(), 2 * x.cpu())
    with pytest.raises(RuntimeError, match=r"same device, but aten.add.Tensor got \[3, 4\] on cuda:0, \[3, 4\] on cpu"):
        x + torch.ones(3, 4)
    for action, expected in (
        (lambda: x.sum().item(), ["wait"]),
        (lambda: bool((x > 0).any()), ["wait"]),
        (x.tolist, ["to the CPU"]),
        (x.cpu, ["to the CPU"]),
        (lambda: x[x > 0], ["wait"]),
        (x.nonzero, ["wait"]),
        (lambda: x[[0, 2]], ["to the GPU"]),
        (lambda: torch.tensor([1, 2], device=CUDA), ["to the GPU"]),
        (x.double, ["float64"]),
        (lambda: torch.where(x > 0, x, 0).reshape(4, 3)[1:, ::2].softmax(-1), []),
    ):
        gpu.found.clear()
        action()
        assert [finding.what for finding in gpu.found] == expected
        assert all(finding.where.startswith(__file__) for finding in gpu.found)
