"""From a picture to a conditioning, through ComfyUI's own VAE and CLIP vision: the recorded numbers, and what is refused."""

import logging

import comfy.clip_vision
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.conditioning import IMAGE_KEY
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.pictures import Motion, Pictures, condition_clip, describe
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.comfyui.vae import load_vae
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
from cinemo_pack.cinemo_core.models.dynamicrafter.resampler import Resampler, ResamplerConfig
from cinemo_pack.cinemo_core.models.dynamicrafter.tokens import FIRST, RESAMPLED
from cinemo_pack.cinemo_core.models.dynamicrafter.variants import SMALL
from cinemo_pack.nodes.dynamicrafter.condition import CinemoDynamiCrafterConditioning
from cinemo_pack.tests.comfy.families import cinemo as small_cinemo
from cinemo_pack.tests.comfy.families import dynamicrafter as small
from cinemo_pack.tests.core.models.dynamicrafter.test_image import picture
from cinemo_pack.tests.drawn_dynamicrafter import own_projector
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.rule import state_dict
from safetensors.torch import save_file
from torch.nn.functional import scaled_dot_product_attention

META = meta("dynamicrafter/encoders")
TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 224,
    "patch_size": 32,
    "num_channels": 3,
    "projection_dim": 24,
    "hidden_act": "gelu",
}
SIZES = {"p0": (64, 96), "p2": (512, 320)}  # width, height
FRAMES = 4
RECOMMENDED = Motion()


def recorded(part: str) -> dict[str, torch.Tensor]:
    return state_dict(META[part]["keys"], META[part]["weight_seed"], META[part]["checksum"])


def plain_attention(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


def load_small(folder, variant: str):
    """A small MODEL whose projector is the recorded one."""
    path = folder / "small.safetensors"
    save_file(small.weights(), path)
    model = load_unet(str(path), "fp32", DYNAMICRAFTER, {"variant": variant})
    weights = own_projector(recorded("resampler_weights"))
    config = ResamplerConfig.from_state_dict(weights, META["resampler_config"]["dim_head"])
    projector = Resampler(config, attention=plain_attention, dtype=torch.float32, device="cpu", operations=torch.nn)
    projector.load_state_dict(weights)
    model.model.diffusion_model.image_proj_model = projector.requires_grad_(False)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_small(tmp_path_factory.mktemp("model"), "512")


@pytest.fixture(scope="module")
def interpolation(tmp_path_factory):
    return load_small(tmp_path_factory.mktemp("interpolation"), "512 interpolation")


@pytest.fixture(scope="module")
def clip_vision():
    tower = comfy.clip_vision.ClipVisionModel(TOWER)
    weights = comfy.clip_vision.convert_to_transformers(recorded("vision_weights"), "embedder.model.visual.")
    tower.model.load_state_dict(weights)
    tower.model.float()  # as the recorded run computed
    return tower


@pytest.fixture(scope="module")
def vae(drawn):
    return load_vae(str(drawn / "vae" / "diffusion_pytorch_model.bin"))


def image_of(name: str) -> torch.Tensor:
    return picture(name, *META["preprocess"][name]["size_hw"]).movedim(0, -1)[None].float() / 255


def text() -> list:
    return [[torch.zeros(1, 7, 24), {}]]


def condition(model, clip_vision, vae, pictures: Pictures, size=(64, 96), frames=FRAMES, motion=RECOMMENDED, tokens=RESAMPLED):
    positive, negative, latent = condition_clip(
        model, text(), text(), (clip_vision, vae), pictures, ClipSize(*size, frames), motion, tokens
    )
    return positive[0][1][IMAGE_KEY], negative[0][1][IMAGE_KEY], latent


@pytest.mark.parametrize("name", SIZES)
def test_the_image_context_is_the_recorded_one(model, clip_vision, vae, name):
    """Picture -> preprocessing -> tower -> projector; the negative has a grey picture, which is mid grey and not black."""
    golden = load("dynamicrafter/encoders")
    positive, negative, _ = condition(model, clip_vision, vae, Pictures(image_of(name)), SIZES[name], 16)
    for image, expected in ((positive, name), (negative, "zero")):
        with torch.no_grad():
            found = model.model.image_tokens(image, torch.device("cpu")).flatten(1, 2)
        error = found - golden[f"tokens.{expected}.image_context"]
        assert error.abs().max() <= 5e-5 and error.square().mean().sqrt() <= 1e-5


def test_every_frame_is_given_the_image(model, clip_vision, vae):
    positive, negative, latent = condition(model, clip_vision, vae, Pictures(image_of("p0")))
    assert positive.latents.shape == (FRAMES, 4, 12, 8) and torch.equal(positive.latents, latent)
    assert (latent - latent[:1]).abs().max() <= 1e-6 * latent.abs().max()
    assert torch.equal(negative.latents, positive.latents) and not torch.equal(negative.tower, positive.tower)
    mode = vae.encode(image_of("p0"))
    assert (latent[:1] - mode).abs().max() <= 1e-5 * mode.abs().max()


def test_two_pictures_are_given_at_the_ends_and_nothing_between(interpolation, clip_vision, vae):
    first, last = image_of("p0"), image_of("p0").flip(1)
    positive, _, latent = condition(interpolation, clip_vision, vae, Pictures(first, last))
    ends = [vae.encode(image) for image in (first, last)]
    for frame, expected in ((0, ends[0]), (-1, ends[1])):
        assert (positive.latents[frame] - expected[0]).abs().max() <= 1e-5 * expected.abs().max()
    assert positive.latents[1:-1].count_nonzero() == 0 and latent.count_nonzero() == latent.numel()
    alone, _, _ = condition(interpolation, clip_vision, vae, Pictures(first))
    assert torch.equal(alone.tower, positive.tower)  # the tokens are those of the first


def test_a_loop_ends_as_it_begins(interpolation, clip_vision, vae):
    positive, _, _ = condition(interpolation, clip_vision, vae, Pictures(image_of("p0"), loop=True))
    assert torch.equal(positive.latents[0], positive.latents[-1]) and positive.latents[1:-1].count_nonzero() == 0


@pytest.mark.parametrize(("loop", "last"), [(True, False), (False, True)])
def test_another_model_than_the_interpolation_one_is_warned_about(model, interpolation, clip_vision, vae, caplog, loop, last):
    pictures = Pictures(image_of("p0"), image_of("p0") if last else None, loop)
    with caplog.at_level(logging.WARNING):
        condition(interpolation, clip_vision, vae, pictures)
        assert "interpolation" not in caplog.text
        condition(model, clip_vision, vae, pictures)
    doubt = "was loaded as 512; only the interpolation model was trained for it"
    assert doubt in caplog.text
    assert doubt in describe(model, pictures, Motion()) and "trained for it" not in describe(interpolation, pictures, Motion())


def test_the_report_says_which_number_is_read(model, interpolation):
    pictures = Pictures(image_of("p0"))
    assert describe(model, pictures, Motion()) == "DynamiCrafter 512, frames per second 24 (the recommended)."
    assert describe(interpolation, pictures, Motion(fps=8)) == "DynamiCrafter 512 interpolation, frames per second 8 (5 is recommended)."


def test_the_motion_number_is_the_variants(model, interpolation, clip_vision, vae):
    pictures = Pictures(image_of("p0"))
    for found, motion, expected in ((model, Motion(), 24), (interpolation, Motion(), 5), (model, Motion(fps=8), 8)):
        assert condition(found, clip_vision, vae, pictures, motion=motion)[0].fs == expected
    with pytest.raises(InputError, match="frame_stride is set to 3, but the 512 model reads frames per second: set fps instead"):
        condition(model, clip_vision, vae, pictures, motion=Motion(stride=3))
    with pytest.raises(InputError, match="fps is set to 24, but the 256 model reads frame stride: set frame_stride instead"):
        Motion(fps=24).number(SMALL)
    assert [motion.number(SMALL) for motion in (Motion(stride=5), Motion())] == [5, 3]


def test_pictures_of_other_sizes_fill_the_clip(model, clip_vision, vae):
    """Nothing is padded: a tall picture in a wide clip loses its top and bottom."""
    white = torch.ones(1, 200, 40, 4)
    _, _, latent = condition(model, clip_vision, vae, Pictures(white), (96, 64))
    expected = vae.encode(torch.ones(1, 64, 96, 3))
    assert (latent[:1] - expected).abs().max() <= 1e-3 * expected.abs().max()


class Other:
    """A CLIP_VISION of another kind, which must be refused before it is run."""

    def __init__(self, image_size=224, **config):
        self.config, self.image_size = config, image_size


@pytest.mark.parametrize(
    ("tower", "message"),
    [
        (None, "There is no CLIP vision model"),
        (Other(hidden_size=1024), "a clip_vision_model with tokens of 1024 channels for pictures of 224 pixels"),  # ViT-L
        (Other(384, hidden_size=64, model_type="siglip_vision_model"), "is a siglip_vision_model with tokens of 64 channels"),
        (Other(336, hidden_size=64), "for pictures of 336 pixels"),
    ],
)
def test_other_towers_are_refused(model, vae, tower, message):
    with pytest.raises(InputError, match=f"{message}.*OpenCLIP ViT-H"):
        condition(model, tower, vae, Pictures(image_of("p0")))


NAN = torch.full((1, 96, 64, 3), float("nan"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pictures": Pictures(NAN)}, "The image holds NaN"),
        ({"pictures": Pictures(torch.rand(1, 96, 64, 3), NAN)}, "The image holds NaN"),
        (
            {"pictures": Pictures(torch.rand(1, 96, 64, 3), torch.rand(1, 8, 8, 3), True)},
            "A loop ends with its first image, but",
        ),
        ({"size": (60, 96)}, "The width is 60; choose a multiple of 8"),
        ({"frames": 1}, r"A clip of 1 frame\(s\) was asked for"),
        ({"frames": 17, "tokens": FIRST}, "in a clip of 17 frames, and there are those of 16"),
        ({"motion": Motion(fps=-1)}, "The motion number is -1; choose 1 or more, or 0"),
    ],
)
def test_input_that_does_not_fit_is_refused_before_anything_is_encoded(model, given, message):
    given = {"pictures": Pictures(torch.rand(1, 96, 64, 3))} | given
    with pytest.raises(InputError, match=message):
        condition(model, None, None, **given)


def test_a_vae_that_is_missing_or_of_another_kind_is_refused(model, clip_vision):
    with pytest.raises(InputError, match="There is no VAE"):
        condition(model, clip_vision, None, Pictures(image_of("p0")))


def test_a_model_of_another_family_is_refused(tmp_path, clip_vision, vae):
    save_file(small_cinemo.weights(), tmp_path / "cinemo.safetensors")
    cinemo = load_unet(str(tmp_path / "cinemo.safetensors"), "fp32")
    with pytest.raises(InputError, match="The model is Cinemo, not DynamiCrafter; load one with Cinemo DynamiCrafter Loader"):
        condition(cinemo, clip_vision, vae, Pictures(image_of("p0")))


def test_the_node(model, clip_vision, vae):
    arguments = {"width": 64, "height": 96, "frames": FRAMES, "fps": 0, "frame_stride": 0, "loop": False, "resize": "cover"}
    positive, negative, latent, report = CinemoDynamiCrafterConditioning.execute(
        model, text(), text(), clip_vision, vae, image_of("p0"), **arguments, image_tokens=RESAMPLED
    ).result
    assert positive[0][1][IMAGE_KEY].fs == 24 and negative[0][1][IMAGE_KEY].frames == FRAMES
    assert latent["samples"].shape == (FRAMES, 4, 12, 8) and report == describe(model, Pictures(image_of("p0")), Motion())
