"""What the trainer writes, in ComfyUI: a checkpoint folder for the bundle loader, a LoRA for LoraLoader, the same predictions."""

from pathlib import Path

import comfy.latent_formats
import folder_paths
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.cinemo.unet import CinemoUNet
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.cinemo_core.training import frozen, network, text
from cinemo_pack.cinemo_core.training.config import Config, parse
from cinemo_pack.cinemo_core.training.lora import LoRALinear, add_lora
from cinemo_pack.cinemo_core.training.nano.autoencoder.network import RGB_OF_LATENT
from cinemo_pack.cinemo_core.training.sampling import denoise, refine
from cinemo_pack.cinemo_core.training.trainer import LORA_NAME, train
from safetensors.torch import load_file

from nodes import LoraLoader

FRAMES, SIZE = 4, 32
PROMPT = "the camera pans left"


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """Trains a few steps with these changes to the configuration; returns the export."""

    def make(name: str, **sections) -> Path:
        table = {
            "data": {"source": "procedural", "clips": 4, "width": SIZE, "height": SIZE, "frames": FRAMES},
            "model": {"vae": str(drawn / "vae"), "vae_temporal_decoder": str(drawn / "vae_temporal_decoder"), "train_text_encoder": True},
            "unet": {"multipliers": [1, 1], "attention": [True, False], "motion_dim": 8},
            "text": {"width": 32, "layers": 1, "heads": 1},
            "optimizer": {"learning_rate": 5e-3},
            "run": {"output": str(folder / name), "steps": 8, "batch": 2},
            "export": {"dtype": "fp32"},
        }
        for section, keys in sections.items():
            table[section] = table.get(section, {}) | keys
        assert train(parse(Config, table, "", Path()))
        return folder / name / "export"

    folder = tmp_path_factory.mktemp("runs")
    return make


@pytest.fixture(scope="module")
def exported(run):
    return run("full")


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


class Given:
    """A NOISE that hands out what it is given."""

    seed = 0

    def __init__(self, noise: torch.Tensor):
        self.noise = noise

    def generate_noise(self, latent: dict) -> torch.Tensor:
        return self.noise.clone()


@torch.inference_mode()
def animate(model, clip, vae, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Frames, in the network's scale, by the nodes' functions."""
    positive, negative = ([[clip.encode_from_tokens(clip.tokenize(words)), {}]] for words in (PROMPT, ""))
    positive, negative, samples = condition_clip(positive, negative, vae, image, ClipSize(SIZE, SIZE, FRAMES), Motion(6))
    refined = DCTInitNoise(samples, Given(noise), LowPass(0.23, 975))
    frames, _ = sample_clip(model, positive, negative, {"samples": samples}, Sampling(0, 5, 4.0, "ddim", "cinemo_ddim"), noise=refined)
    return comfy.latent_formats.SD15().process_in(frames["samples"])


@torch.inference_mode()
def animate_in_training(export: Path, unet: CinemoUNet, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The same by the functions with which training looks at its progress, from the same export."""
    vae = frozen.load_vae(export / "vae_temporal_decoder")
    encoder = text.load(export / "text_encoder").eval()
    context = text.encode(encoder, frozen.Tokenizer("")([PROMPT, ""]))
    z0 = frozen.encode(vae, (image * 255).round().to(torch.uint8).permute(0, 3, 1, 2))
    refined = refine(z0[0], noise[1:], "dctinit", 0.23, 975)
    return denoise(unet, z0, refined[None], context[:1], context[1:], 99 - 6, 5, 4.0)[0]


@pytest.fixture
def picture():
    generator = torch.Generator().manual_seed(8)
    image = torch.randint(0, 256, (1, SIZE, SIZE, 3), generator=generator) / 255
    return image, torch.randn(FRAMES, 4, SIZE // 8, SIZE // 8, generator=generator)


def test_an_export_animates_in_comfyui_as_in_training(exported, picture):
    """Text, VAE, UNet, schedule, guidance, DCTInit: every part of both ways meets in these frames."""
    model, clip, vae = load_bundle(str(exported), "fp32")
    found = animate(model, clip, vae, *picture)
    expected = animate_in_training(exported, network.load(exported, 0, 0), *picture)
    assert found.shape == (FRAMES, 4, SIZE // 8, SIZE // 8)
    assert relative(found[1:] - found[:1], expected[1:] - expected[:1]) <= 1e-3
    assert (expected[1:] - expected[:1]).abs().mean() > 0.01


def test_the_prompt_matters_to_a_trained_network(exported, picture):
    """So that the test above would see a wrong text."""
    model, clip, vae = load_bundle(str(exported), "fp32")
    unet = network.load(exported, 0, 0)
    for name, parameter in unet.named_parameters():
        if "attn2.to_v" in name:
            parameter.data.zero_()
    assert relative(animate_in_training(exported, unet, *picture), animate(model, clip, vae, *picture)) > 1e-3


def test_a_lora_through_comfyuis_loader(exported, run, picture, tmp_path, monkeypatch):
    model_keys = {"start": str(exported), "train_text_encoder": False, "lora_rank": 2, "lora_alpha": 3.0}
    layers = ["attn1", "attn2", "attn_temp", "motion_embed"]
    export = run("lora", model=model_keys | {"lora_layers": layers})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(export)], {".safetensors"}))
    model, clip, vae = load_bundle(str(exported), "fp32")
    adapted, _ = LoraLoader().load_lora(model, clip, LORA_NAME, 1.0, 1.0)

    unet = network.load(exported, 0, 0)
    add_lora(unet, 2, 3.0, tuple(layers), seed=0)
    file = load_file(export / LORA_NAME)
    for name, module in unet.named_modules():
        if isinstance(module, LoRALinear):
            key = "lora_unet_" + name.replace(".", "_")
            module.lora_up.weight.data = file[f"{key}.lora_up.weight"]
            module.lora_down.weight.data = file[f"{key}.lora_down.weight"]
    expected = animate_in_training(exported, unet, *picture)
    found, before = animate(adapted, clip, vae, *picture), animate(model, clip, vae, *picture)
    assert relative(found[1:] - found[:1], expected[1:] - expected[:1]) <= 1e-3
    assert relative(before[1:] - before[:1], expected[1:] - expected[:1]) > 0.02


def test_a_network_that_predicts_frames_is_refused(run):
    export = run("direct", objective={"prediction": "direct"})
    with pytest.raises(CheckpointError, match="prediction_type"):
        load_bundle(str(export))


def test_the_autoencoder_learns_the_colours_of_comfyuis_previews():
    assert [list(row) for row in RGB_OF_LATENT] == comfy.latent_formats.SD15().latent_rgb_factors
