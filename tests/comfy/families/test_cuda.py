"""The path of a GPU, walked on tensors that say they are on one and hold no numbers: devices and types, and no step that waits.

On such tensors `.item()`, `.tolist()`, a decision by a value and indexing by a mask raise; what is moved to the CPU is counted.
"""

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from comfy.context_windows import IndexListContextWindow
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
FRAMES, HEIGHT, WIDTH = 6, 8, 8
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Watch(TorchDispatchMode):
    """Notes every copy from the GPU to the CPU, and every float64 on the GPU, which Apple's has not."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        out = function(*arguments, **(options or {}))
        results = [tensor for tensor in torch.utils._pytree.tree_leaves(out) if isinstance(tensor, torch.Tensor)]
        sources = [tensor for tensor in torch.utils._pytree.tree_leaves(arguments) if isinstance(tensor, torch.Tensor)]
        if function in COPIES and results[0].device.type == "cpu" and any(tensor.device.type == "cuda" for tensor in sources):
            self.found.append(f"{function} to the CPU")
        self.found += [f"{function} makes float64" for tensor in results if tensor.device.type == "cuda" and tensor.dtype == torch.float64]
        return out


@pytest.fixture
def on_gpu(monkeypatch):
    """Answers of ComfyUI's memory management that need a driver, and the attention that it takes on CUDA."""
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: 1 << 40)
    monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", comfy.ldm.modules.attention.attention_pytorch)
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda self: torch.tensor(True))  # checks before the first step find no numbers here


def build(example, dtype):
    """The model on the GPU, as the loader makes it, without numbers."""
    config = example.description(example.small.CONFIG.unet_config())
    config.set_inference_dtype(dtype, None, device=CUDA)
    state_dict = {name: torch.empty(shape, dtype=dtype) for name, shape in example.family.shapes(example.small.CONFIG).items()}
    model = config.get_model(state_dict, device=CUDA)
    model.model_sampling.to(CUDA)
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=CUDA, offload_device=CUDA)
    model.current_patcher = patcher
    assert {tensor.device for tensor in model.diffusion_model.state_dict().values()} == {CUDA}
    return model


def conditions(model, example):
    positive, negative = example.small.condition(FRAMES, HEIGHT, WIDTH)
    converted = {"positive": comfy.sampler_helpers.convert_cond(positive), "negative": comfy.sampler_helpers.convert_cond(negative)}
    noise, latent = (torch.empty(FRAMES, 4, HEIGHT, WIDTH, device=CUDA) for _ in range(2))
    return comfy.samplers.process_conds(model, noise, converted, CUDA, latent, None, 0)


@pytest.mark.parametrize("window", [None, [0, 1, 2], [3, 4, 5]], ids=["whole", "first window", "later window"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_a_step_of_sampling_stays_on_the_gpu_and_never_waits(example, on_gpu, dtype, window):
    with FakeTensorMode():
        model = build(example, dtype)
        conds = conditions(model, example)
        frames = window or list(range(FRAMES))
        options = {"transformer_options": {}}
        if window:
            options["transformer_options"]["context_window"] = IndexListContextWindow(window, dim=0, total_frames=FRAMES)
        x = torch.empty(len(frames), 4, HEIGHT, WIDTH, device=CUDA)
        sigma = torch.full((len(frames),), 3.0, device=CUDA)
        with Watch() as watch:
            out = comfy.samplers.sampling_function(
                model, x, sigma, conds["negative"], conds["positive"], 7.5, model_options=options, seed=0
            )
        assert out.shape == x.shape and out.device == CUDA and out.dtype == torch.float32
        assert watch.found == []
