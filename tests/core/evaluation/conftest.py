"""Folders of small clips with known pixels, and small random networks of the published networks' form, saved as TorchScript."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FRAMES, SIZE = 4, 16
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]  # of the pixels that CLIP sees
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Video(torch.nn.Module):
    """Called as I3D is: mean colours of 2x2x2 cells of the clip, mixed."""

    def __init__(self, features: int):
        super().__init__()
        self.mix = torch.nn.Linear(24, features)

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> torch.Tensor:
        if not (rescale and resize and return_features):
            raise ValueError("called in another way than I3D")
        cells = torch.nn.functional.adaptive_avg_pool3d(x.float() / 127.5 - 1, [2, 2, 2])
        return torch.tanh(self.mix(cells.flatten(1)))


class Classifier(torch.nn.Module):
    """Called as C3D is: probabilities of a clip's class."""

    def __init__(self, classes: int):
        super().__init__()
        self.mix = torch.nn.Linear(24, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool3d(x.float() / 127.5 - 1, [2, 2, 2])
        return torch.softmax(9 * self.mix(cells.flatten(1)), 1)


class Frame(torch.nn.Module):
    """Called as Inception is: mean colours of 2x2 cells of a frame, mixed."""

    def __init__(self, features: int):
        super().__init__()
        self.mix = torch.nn.Linear(12, features)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        if not return_features:
            raise ValueError("called in another way than Inception")
        return torch.tanh(self.mix(torch.nn.functional.adaptive_avg_pool2d(x.float() / 127.5 - 1, [2, 2]).flatten(1)))


class Embedding(torch.nn.Module):
    """Called as DreamSim's embed is."""

    def __init__(self, features: int):
        super().__init__()
        self.mix = torch.nn.Linear(12, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.nn.functional.adaptive_avg_pool2d(x, [2, 2]).flatten(1))


@pytest.fixture(autouse=True)
def leave_accelerate():
    """The command sets accelerate to stay on the CPU, for the whole process; other tests may choose again."""
    yield
    if "accelerate" in sys.modules:
        from accelerate import PartialState

        PartialState._reset_state()


MODULES = {"i3d": Video, "c3d": Classifier, "inception": Frame, "dreamsim": Embedding}


@pytest.fixture(scope="session")
def modules() -> dict[str, torch.nn.Module]:
    """The random networks themselves, for oracles to read their weights."""
    made = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for name, features in (("i3d", 6), ("c3d", 5), ("inception", 7), ("dreamsim", 8)):
            made[name] = MODULES[name](features).requires_grad_(False).eval()
    return made


@pytest.fixture(scope="session")
def networks(tmp_path_factory, modules) -> dict[str, Path]:
    """Their TorchScript files."""
    folder = tmp_path_factory.mktemp("networks")
    for name, module in modules.items():
        torch.jit.script(module).save(str(folder / f"{name}.pt"))
    return {name: folder / f"{name}.pt" for name in modules}


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A whole CLIP folder: two small random towers, a tokenizer of single letters, an image processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": len(words), "max_position_embeddings": 12, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    vision = tower | {"image_size": 16, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=9))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return folder


def random_clips(seed: int, count: int, brightness: float = 1.0) -> dict[str, np.ndarray]:
    """Clips by name, uint8 [FRAMES, SIZE, SIZE, 3]: coarse random colours that drift, so that clips and frames differ."""
    generator = np.random.default_rng(seed)
    clips = {}
    for number in range(count):
        coarse = generator.integers(0, 256, (FRAMES, 4, 4, 3)) * 0.5 + generator.integers(0, 256, (1, 4, 4, 3)) * 0.5
        fine = coarse.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)
        clips[f"clip_{number}"] = np.floor(fine * brightness).astype(np.uint8)
    return clips


def write_frames(folder: Path, clips: dict[str, np.ndarray]) -> Path:
    """Each clip as a subfolder of PNG files, which keep every pixel."""
    for name, frames in clips.items():
        (folder / name).mkdir(parents=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / name / f"{number}.png")
    return folder


def write_video(path: Path, frames: np.ndarray, codec: str = "ffv1") -> Path:
    """A video file; FFV1 in RGB keeps every pixel."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
