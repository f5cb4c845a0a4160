"""A training run in miniature: video files, a VAE and a tokenizer made on the spot, and a configuration that uses them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.models.temporal_vae import keys as vae_keys
from cinemo_pack.cinemo_core.training.config import Config, parse
from cinemo_pack.tests import drawn
from safetensors.torch import save_file

SIZE = 32


def write_video(path: Path, frames: np.ndarray, codec: str = "ffv1", **options) -> None:
    """uint8 [f, h, w, 3] as a video file."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving_square(frames: int, speed: float, colour: int, size: int = 40) -> np.ndarray:
    pictures = np.full((frames, size, size + 8, 3), 30, np.uint8)
    for i, picture in enumerate(pictures):
        x = int(i * speed) % (size - 10)
        picture[10:24, x : x + 12] = (colour, 255 - colour, 120)
    return pictures


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """A folder of five good videos with captions."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(5):
        write_video(folder / f"{i}.mkv", moving_square(14 + i, 0.5 + i, 50 * i))
        (folder / f"{i}.txt").write_text(f"a square moves, number {i}\n")
    return folder


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "vae"
    folder.mkdir()
    config = vae_keys.VAEConfig((32, 32, 32, 32), num_res_blocks=1, temporal=False)
    save_file(drawn.vae_weights(config), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", "scaling_factor": 0.18215}))
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    """A CLIP tokenizer that knows single characters only, with CLIP's own start and end."""
    folder = tmp_path_factory.mktemp("parts") / "tokenizer"
    folder.mkdir()
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = {token: i for i, token in enumerate([*letters, *(letter + "</w>" for letter in letters)])}
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.fixture
def table(videos, vae_folder, tokenizer_folder, tmp_path) -> dict:
    """The TOML table of a run of six steps."""
    return {
        "data": {"source": "videos", "path": str(videos), "width": SIZE, "height": SIZE, "frames": 4, "cache": False},
        "model": {"vae": str(vae_folder), "tokenizer": str(tokenizer_folder), "train_text_encoder": True},
        "unet": {"width": 64, "multipliers": [1, 1], "attention": [True, False], "heads": 2, "motion_dim": 8},
        "text": {"width": 32, "layers": 1, "heads": 1},
        "optimizer": {"learning_rate": 1e-3, "warmup": 2, "ema": 0.9},
        "run": {"output": str(tmp_path / "run"), "steps": 6, "batch": 2, "log_every": 1, "checkpoint_every": 2},
    }


@pytest.fixture
def to_config():
    def make(table: dict) -> Config:
        return parse(Config, table, "", Path())

    return make


@pytest.fixture(autouse=True)
def fresh_engine():
    """accelerate keeps its state for the whole process, a test does not."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(autouse=True)
def one_thread():
    """So that a sum has one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
