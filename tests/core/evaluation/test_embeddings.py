"""CLIPSIM through transformers' CLIP, and PIC through an embedding, with small random networks."""

import shutil
import sys

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError, InputError
from cinemo_pack.cinemo_core.evaluation.embeddings import InputConformity, TextSimilarity
from PIL import Image
from safetensors.torch import load_file, save_file

from .conftest import LETTERS, MEAN, STD

CPU = torch.device("cpu")


def frames(seed: int, count: int = 5, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("caption", ["cab", "a much longer caption than this text tower reads"])
def test_clipsim_is_the_cosine_of_the_towers(clip_folder, caption):
    """The oracle runs the two towers by themselves, on pixels and letters that it prepares by hand."""
    from transformers import CLIPModel

    pixels = frames(1)
    letters = [LETTERS.index(letter) + 26 * (i == len(word)) for word in caption.split() for i, letter in enumerate(word, start=1)]
    values = torch.from_numpy((pixels / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)
    model = CLIPModel.from_pretrained(clip_folder, local_files_only=True).eval()
    with torch.inference_mode():
        text = model.text_projection(model.text_model(torch.tensor([[52, *letters[:10], 53]])).pooler_output)[0].numpy()
        images = model.visual_projection(model.vision_model(values).pooler_output).numpy()
    expected = np.mean([image @ text / np.linalg.norm(image) / np.linalg.norm(text) for image in images])
    assert abs(expected) > 0.01
    assert TextSimilarity(clip_folder, CPU)(pixels, caption) == pytest.approx(expected, abs=1e-5)


def test_a_caption_changes_it(clip_folder):
    similarity = TextSimilarity(clip_folder, CPU)
    assert similarity.width == 9
    assert abs(similarity(frames(1), "cab") - similarity(frames(1), "dog")) > 1e-3


def test_a_folder_that_is_not_clip(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not CLIP ViT-B/32 .*; get clip-vit-base-patch32 from https"):
        TextSimilarity(tmp_path, CPU)


@pytest.mark.parametrize("damage", ["cut", "pointer", "without a tower", "without a tokenizer"])
def test_a_clip_folder_that_is_not_whole(clip_folder, tmp_path, damage):
    """Transformers itself would take the last two, with random weights or another tokenizer's numbers."""
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-999])
    elif damage == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605156676\n")
    elif damage == "without a tower":
        save_file({name: t for name, t in load_file(weights).items() if not name.startswith("vision_model.")}, weights, {"format": "pt"})
    else:
        for name in ("vocab.json", "merges.txt", "tokenizer.json"):
            (folder / name).unlink(missing_ok=True)
    reason = {"without a tower": r"lacks \d+ tensors, vision_model\.", "without a tokenizer": ""}.get(damage, r"cannot be read \(")
    with pytest.raises(CheckpointError, match=rf"is not CLIP ViT-B/32 .*: it .*{reason}.*; get clip-vit-base-patch32 from"):
        TextSimilarity(folder, CPU)


def test_pic_is_one_minus_the_distances(networks, modules):
    """DreamSim's distance is 1 - cosine of the embeddings of 224x224 pictures in 0..1."""
    image, clip = frames(2, 1)[0], frames(3)

    def embed(picture):
        square = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC)) / 255
        cells = square.reshape(2, 112, 2, 112, 3).mean((1, 3)).transpose(2, 0, 1).ravel()
        mix = modules["dreamsim"].mix
        return mix.weight.numpy() @ cells + mix.bias.numpy()

    a = embed(image)
    distances = [1 - embed(f) @ a / np.linalg.norm(embed(f)) / np.linalg.norm(a) for f in clip]
    conformity = InputConformity(networks["dreamsim"], CPU)
    assert conformity.width == 8
    assert conformity(image, clip) == pytest.approx(1 - np.mean(distances), abs=1e-6)
    assert conformity(image, image[None]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            (),
            r"not a whole DreamSim folder \(ensemble\), ensemble_lora, dino_vitb16_pretrain.pth, facebookresearch_dino_main, checkpoints,",
        ),
        (("clip_vitb32_single_lora",), r"folder \(clip_vitb32\), clip_vitb32_pretrain.pth.tar missing: let the dreamsim package fill it"),
    ],
)
def test_a_dreamsim_folder_that_would_be_downloaded(tmp_path, files, message):
    for name in files:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        InputConformity(tmp_path, CPU)


def test_a_dreamsim_folder_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    (tmp_path / "open_clip_vitb32_single_lora").mkdir()
    (tmp_path / "open_clip_vitb32_pretrain.pth.tar").touch()
    with pytest.raises(
        InputError, match="needs the dreamsim package, .*: install it with pip install dreamsim, or give a TorchScript file"
    ):
        InputConformity(tmp_path, CPU)


def test_files_that_are_no_embedding(tmp_path, networks):
    (tmp_path / "x.pt").write_bytes(b"no network")
    with pytest.raises(
        CheckpointError, match=r"x.pt is not DreamSim .*: it cannot be read as TorchScript \([^.]+\); get dreamsim_ensemble_checkpoint.zip"
    ):
        InputConformity(tmp_path / "x.pt", CPU)
    with pytest.raises(CheckpointError, match=r"i3d.pt is not DreamSim .*: it fails on \[2, 3, 224, 224\]"):
        InputConformity(networks["i3d"], CPU)
