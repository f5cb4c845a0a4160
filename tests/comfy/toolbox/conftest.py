"""A small model of the family at hand, a clip for it, and ComfyUI's own nodes to put around it."""

import asyncio
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.models.sd_unet.config import UNetConfig
from cinemo_pack.tests.comfy.toolbox.files import sd_weights, weights_of
from cinemo_pack.tests.comfy.toolbox.kits import CINEMO, SCALE, Clip, Kit, make_clip
from safetensors.torch import save_file

import nodes

UNET_SIZES = {item.name for item in fields(UNetConfig)}


@pytest.fixture(scope="session")
def kit(request) -> Kit:
    """Cinemo's, or each in turn for a test marked `every_family`."""
    return getattr(request, "param", CINEMO)


@pytest.fixture(scope="session")
def small_weights(kit) -> dict[str, torch.Tensor]:
    return weights_of(kit.config)


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
def stock_sd(kit):
    """ComfyUI's own UNet of the Stable Diffusion that the family grew out of, with the widths of the small model, other weights."""
    sizes = {k: v for k, v in kit.config.unet_config().items() if k in UNET_SIZES} | {"in_channels": kit.config.out_channels}
    config = kit.stock(sizes | {"image_size": 32, "use_spatial_transformer": True, "legacy": False} | kit.settings)
    config.set_inference_dtype(torch.float32, None)
    unet = config.get_model({})
    unet.load_model_weights(sd_weights(kit.config))
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


def with_hooks(clip: Clip, hooks) -> Clip:
    """The clip with hooks on its positive prompt."""
    return clip.with_positive(node("ConditioningSetProperties", cond_NEW=clip.positive, strength=1.0, set_cond_area="default", hooks=hooks))


@pytest.fixture
def clip(kit) -> Clip:
    return make_clip(kit=kit)


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
