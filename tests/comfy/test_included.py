"""Nano, the checkpoint that comes with the pack: small, whole, listed after the person's own, and it moves as asked."""

import shutil

import pytest
import torch
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.comfyui.cinemo import choices
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.decode import decode_clip
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.evaluation.claims.cases import held_out_photographs
from cinemo_pack.cinemo_core.evaluation.claims.claims import measured_bucket
from cinemo_pack.cinemo_core.evaluation.claims.direction import read_direction
from cinemo_pack.cinemo_core.files.checkpoint import read_state_dict
from cinemo_pack.cinemo_core.motion.low_pass import LowPass

MEGABYTES = 40
STEPS, CFG, NEGATIVE_BUCKET = 25, 1.4, 0  # see docs/nano.md
SIDE = 64  # smaller than its own size, for time
SEEDS = (0, 1)  # each on a picture of its own


@pytest.fixture(scope="module")
def parts():
    return load_bundle(str(included.FOLDER), "fp32")


@pytest.fixture(scope="module")
def pictures():
    """Photographs that it was not trained on, float [1, h, w, 3]."""
    return [torch.from_numpy(image)[None] / 255 for _, image in held_out_photographs(SIDE)]


@pytest.fixture(scope="module")
@torch.inference_mode()
def animate(parts, pictures):
    """Makes a clip by what the nodes call, uint8 [f, h, w, 3]; the seed also chooses the picture."""
    model, clip, vae = parts

    def make(caption: str, bucket: int, seed: int):
        positive, negative = ([[clip.encode_from_tokens(clip.tokenize(words)), {}]] for words in (caption, ""))
        positive, negative, samples = condition_clip(
            positive, negative, vae, pictures[seed], ClipSize(SIDE, SIDE, 16), Motion(bucket, negative=NEGATIVE_BUCKET)
        )
        noise = DCTInitNoise(samples, random_noise(seed), LowPass(0.23, 975))
        frames, _ = sample_clip(
            model, positive, negative, {"samples": samples}, Sampling(0, STEPS, CFG, "ddim", "cinemo_ddim"), noise=noise
        )
        return (decode_clip(vae, frames["samples"]).clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    return torch.inference_mode()(make)


def test_it_is_small_and_free_of_pickles():
    held = [path for path in included.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in held) < MEGABYTES * 1e6
    assert {path.suffix for path in held} == {".safetensors", ".json"}
    for path in included.FOLDER.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in read_state_dict(path).values()} == {torch.float16}, path


def test_it_is_offered_and_gives_way_to_what_the_person_has(model_folders):
    choices.register_included()
    assert included.ABLATION.is_dir()  # in a clone, and listed by no loader
    assert choices.bundle_choices() == [included.NAME] and choices.bundle_default() == included.NAME
    assert choices.unet_choices() == [f"{included.NAME}/unet"] and choices.unet_default() == f"{included.NAME}/unet"
    assert choices.resolve_bundle(included.NAME).folder == included.FOLDER

    shutil.copytree(included.FOLDER, model_folders.diffusers / "zoo")
    assert choices.bundle_choices() == [included.NAME, "zoo"] and choices.bundle_default() == "zoo"
    assert choices.unet_default() == "zoo/unet"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_higher_bucket_moves_more(animate, seed):
    low, middle, high = (measured_bucket(animate("the camera pans left", bucket, seed)) for bucket in (0, 10, 19))
    assert low + 3 < middle < high


@pytest.mark.parametrize("seed", SEEDS)
def test_the_caption_sets_the_direction(animate, seed):
    """What is seen goes the other way than the camera."""
    ways = {"the camera pans left": "right", "the camera pans right": "left", "the camera tilts up": "down", "the camera tilts down": "up"}
    assert {caption: read_direction(animate(caption, 12, seed), None) for caption in ways} == ways


@pytest.mark.parametrize("seed", SEEDS)
def test_it_begins_with_the_picture(animate, pictures, seed):
    first = torch.from_numpy(animate("the camera pans left", 9, seed)[0]) / 255
    assert (first - pictures[seed][0]).square().mean().sqrt() < 0.18
