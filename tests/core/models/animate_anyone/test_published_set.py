"""The files of a set, told apart by their tensors alone."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.animate_anyone.keys import normalise
from cinemo_pack.cinemo_core.models.animate_anyone.published_set import join
from cinemo_pack.tests.goldens import meta

KEYS = {file: facts["keys"] for file, facts in meta("animate_anyone/full_state_dict_keys")["files"].items()}
PUBLISHED = {file: {name: torch.empty(tuple(shape), device="meta") for name, shape in keys.items()} for file, keys in KEYS.items()}
REENACTMENT = {
    "a": PUBLISHED["denoising_unet"] | PUBLISHED["motion_module"],
    "b": PUBLISHED["denoising_unet"],
    "c1": PUBLISHED["pose_guider"],
    "c2": PUBLISHED["pose_guider"],
}
TOWER = {"vision_model.embeddings.class_embedding": torch.empty(4, device="meta")}


CHAMP = {f"guidance_encoder_{kind}": {"guidance_attention.norm.weight": TOWER} for kind in ("depth", "normal", "semantic_map", "dwpose")}
ANIPORTRAIT = {"face_guider": {"conv.1.running_mean": TOWER}}


@pytest.mark.parametrize(
    ("files", "guiders"),
    [
        (PUBLISHED, 1),
        (PUBLISHED | CHAMP, 1),
        (PUBLISHED | ANIPORTRAIT, 1),
        ({f"{5 - i}.pth": tensors for i, tensors in enumerate(PUBLISHED.values())} | {"other.bin": TOWER}, 1),
        ({file: {f"module.{name}": tensor for name, tensor in tensors.items()} for file, tensors in PUBLISHED.items()}, 1),
        (REENACTMENT, 2),
    ],
    ids=["published names", "Champ's UNets", "AniPortrait's UNets", "other names", "prefixed", "reenactment"],
)
def test_a_set_is_whole_whatever_its_files_are_called(files, guiders):
    tensors = normalise(join(files, "here"))
    assert AnimateAnyoneConfig.from_state_dict(tensors).pose_guiders == guiders
    expected = normalise({f"{file}.{name}": tensor for file, keys in PUBLISHED.items() for name, tensor in keys.items()})
    assert {name for name in tensors if not name.startswith("pose_guiders.1.")} == set(expected)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({file: t for file, t in PUBLISHED.items() if file != "motion_module"}, "here lacks the motion module of an Animate Anyone set"),
        (
            {file: t for file, t in PUBLISHED.items() if file != "reference_unet"},
            "lacks the ReferenceNet of an Animate Anyone set; found: den",
        ),
        ({"motion_module": PUBLISHED["motion_module"]}, "lacks the UNet and the ReferenceNet and the Pose Guider"),
        ({}, "found: none of them"),
        (PUBLISHED | {"sd15": PUBLISHED["denoising_unet"]}, r"here holds the UNet more than once \(denoising_unet, sd15\)"),
        (PUBLISHED | {"pose_guider": {"guidance_attention.norm.weight": TOWER}}, "the Champ guidance encoder pose_guider, which this pack"),
        (PUBLISHED | {"pose_guider": {"conv.1.running_mean": TOWER}}, "the AniPortrait Pose Guider pose_guider, which this pack"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(files, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        join(files, "here")
