"""A small Cinemo model of SD1.x's proportions, a clip for it, and ComfyUI's own nodes to put around it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, ClipCondition
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.tests.comfy.toolbox.files import SMALL, sd15_weights, weights_of
from cinemo_pack.tests.drawn import TEXT_WIDTH
from safetensors.torch import save_file

import nodes

FRAMES, HEIGHT, WIDTH = 5, 8, 8
MOTION_ID = 90.0
SCALE = comfy.latent_formats.SD15().scale_factor


@pytest.fixture(scope="session")
def small_weights() -> dict[str, torch.Tensor]:
    return weights_of(SMALL)


@pytest.fixture(scope="session")
def small_file(tmp_path_factory, small_weights) -> str:
    path = tmp_path_factory.mktemp("small") / "unet.safetensors"
    save_file(small_weights, path)
    return str(path)


@pytest.fixture(scope="session")
def loaded(small_file):
    return load_unet(small_file, "fp32")


@pytest.fixture
def model(loaded):
    """A clone, so that patches of one test do not reach the next; without gradients, as ComfyUI runs nodes."""
    with torch.inference_mode():
        yield loaded.clone()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """One empty folder that ComfyUI looks into for every kind of file, and saves to."""
    folder = tmp_path / "files"
    folder.mkdir()
    for kind in ("checkpoints", "controlnet", "diffusion_models", "loras", "vae_approx"):
        suffixes = folder_paths.folder_names_and_paths[kind][1]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(folder)], suffixes))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "output_directory", str(folder))
    return folder


@pytest.fixture(scope="session")
def sd15():
    """ComfyUI's own SD1.x UNet with the widths of the small model, other weights."""
    sizes = {k: v for k, v in SMALL.unet_config().items() if k not in ("motion_dim", "num_heads")}
    config = comfy.supported_models.SD15(sizes | {"image_size": 32, "use_spatial_transformer": True, "legacy": False})
    config.set_inference_dtype(torch.float32, None)
    unet = config.get_model({})
    unet.load_model_weights(sd15_weights(SMALL))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(unet, load_device=device, offload_device=device)


@pytest.fixture(scope="session", autouse=True)
def stock() -> None:
    """ComfyUI's nodes, the extra ones included, as a server without custom nodes has them."""
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))


def node(name: str, **inputs):
    """Run a stock node by its id; returns its output, or the tuple of its outputs where there are several."""
    kind = nodes.NODE_CLASS_MAPPINGS[name]
    is_v3 = hasattr(kind, "EXECUTE_NORMALIZED")
    out = getattr(kind if is_v3 else kind(), kind.FUNCTION)(**inputs)
    out = out.result if is_v3 else out
    return out[0] if len(out) == 1 else out


@dataclass
class Clip:
    """A clip ready to sample: z0 [1, 4, h, w] in the network's scale, the still clip as a LATENT holds it, both conditionings."""

    z0: torch.Tensor
    samples: torch.Tensor
    positive: list
    negative: list

    def with_positive(self, positive: list) -> "Clip":
        return replace(self, positive=positive)


def make_clip(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, text_width: int = TEXT_WIDTH) -> Clip:
    generator = torch.Generator().manual_seed(3)
    z0 = torch.randn(1, 4, height, width, generator=generator)
    text, negative_text = torch.randn(2, 1, 9, text_width, generator=generator)
    unscaled = z0 / SCALE
    options = {CLIP_KEY: ClipCondition(unscaled, MOTION_ID, frames)}
    return Clip(z0, unscaled.repeat(frames, 1, 1, 1), [[text, options]], [[negative_text, dict(options)]])


def with_hooks(clip: Clip, hooks) -> Clip:
    """The clip with hooks on its positive prompt."""
    return clip.with_positive(node("ConditioningSetProperties", cond_NEW=clip.positive, strength=1.0, set_cond_area="default", hooks=hooks))


@pytest.fixture
def clip() -> Clip:
    return make_clip()


def noise_of(clip: Clip) -> torch.Tensor:
    """The noise that every sampling below starts from."""
    return node("RandomNoise", noise_seed=1).generate_noise({"samples": clip.samples})


def noisy(clip: Clip, sigma: float) -> torch.Tensor:
    """What the model gets at the first step of `evaluate`: frames with noise of that level, in the network's scale."""
    return clip.samples * SCALE + sigma * noise_of(clip)


class GivenNoise:
    """NOISE that is known beforehand."""

    seed = 1

    def __init__(self, noise: torch.Tensor):
        self.noise = noise

    def generate_noise(self, latent: dict) -> torch.Tensor:
        return self.noise


def evaluate(model, clip: Clip, sigma: float = 2.0, cfg: float = 1.0, guider=None, noise: torch.Tensor | None = None) -> torch.Tensor:
    """The model's clean frames at one noise level, in the network's scale.

    One step of SamplerCustomAdvanced down to zero; with cfg 1 it is the answer to the positive prompt, with 0 to the negative.
    """
    if guider is None:
        guider = node("CFGGuider", model=model, positive=clip.positive, negative=clip.negative, cfg=cfg)
    sampler = node("KSamplerSelect", sampler_name="euler")
    out, _ = node(
        "SamplerCustomAdvanced",
        noise=GivenNoise(noise_of(clip) if noise is None else noise),
        guider=guider,
        sampler=sampler,
        sigmas=torch.tensor([sigma, 0.0]),
        latent_image={"samples": clip.samples},
    )
    return out["samples"] * SCALE


def sample(model, clip: Clip, steps: int = 3, cfg: float = 4.0, samples: torch.Tensor | None = None, denoise: float = 1.0, **latent):
    """Frames from the stock KSampler, as a LATENT holds them."""
    return node(
        "KSampler",
        model=model,
        seed=1,
        steps=steps,
        cfg=cfg,
        sampler_name="euler",
        scheduler="normal",
        positive=clip.positive,
        negative=clip.negative,
        latent_image=latent | {"samples": clip.samples if samples is None else samples},
        denoise=denoise,
    )["samples"]


def per_frame(difference: torch.Tensor) -> torch.Tensor:
    """Mean size of a difference in each frame."""
    return difference.abs().mean(dim=(1, 2, 3))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Root-mean-square difference over the root-mean-square of what is expected."""
    return ((found - expected).square().mean() / expected.square().mean()).sqrt().item()


def watch_attention(model, see: Callable) -> None:
    """Call `see(q, k, v, heads)` at every attention of the network, through ComfyUI's own hook for replacing attention."""

    def override(attention, q, k, v, heads, *args, **kwargs):
        see(q, k, v, heads)
        return attention(q, k, v, heads, *args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = override
