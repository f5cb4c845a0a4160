"""The towers of a DynamiCrafter checkpoint as ComfyUI's CLIP and CLIP_VISION, against recorded runs of the official encoders."""

import comfy.model_management
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.open_clip import make_clip, make_clip_vision
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.dynamicrafter.checkpoint import Parts, split
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.rule import state_dict
from comfy.cli_args import args

META = meta("dynamicrafter/encoders")
GOLDEN = "dynamicrafter/encoders"
HEAD = 16  # channels of a head of both small towers


def weights(key: str) -> dict[str, torch.Tensor]:
    return state_dict(META[key]["keys"], META[key]["weight_seed"], META[key]["checksum"])


@pytest.fixture(scope="module")
def parts() -> Parts:
    return split(weights("text_weights") | weights("vision_weights"))


@pytest.fixture(scope="module")
def clip(parts):
    return make_clip(parts.text, HEAD, "The text tower")


@pytest.fixture(scope="module")
def clip_vision(parts):
    return make_clip_vision(parts.image, HEAD, "The image tower")


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """The tolerance of the recorded runs: 5e-5, and 1e-5 of the root mean square."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 5e-5
    assert (found - expected).square().mean().sqrt() <= 1e-5 * expected.square().mean().sqrt()


@pytest.mark.parametrize("name", META["text"])
def test_text(clip, name):
    """A prompt of more than 77 tokens gives more states here; the official code ends after the first 77."""
    tokens = clip.tokenize(META["text"][name]["prompt"])
    expected = load(GOLDEN)
    assert [token for token, _ in tokens["h"][0]] == expected[f"{name}.ids"][0].tolist()
    found = clip.encode_from_tokens(tokens)
    assert_close(found[:, :77], expected[f"{name}.out"])


@pytest.mark.parametrize("name", META["tokens"])
def test_image_tokens(clip_vision, name):
    """All tokens of the last layer, before its norm, for pixels that the authors' preprocessing made."""
    golden = load(GOLDEN)
    grey = torch.tensor(clip_vision.image_mean), torch.tensor(clip_vision.image_std)
    plain = ((0.5 - grey[0]) / grey[1])[None, :, None, None].expand(1, 3, 224, 224)
    pixels = golden.get(f"tokens.{name}.pixels", plain)
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    assert_close(clip_vision.model(pixel_values=pixels)[0], golden[f"tokens.{name}.tokens"])


def test_towers_as_comfyui_saves_them(parts, clip_vision):
    again = make_clip_vision(clip_vision.get_sd(), HEAD, "The image tower")
    found, expected = again.get_sd(), clip_vision.get_sd()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_buffers_of_other_versions_and_prefixes_of_deepspeed(parts):
    mask = torch.zeros(77, 77)
    tensors = weights("text_weights") | {"cond_stage_model.model.attn_mask": mask, "embedder.model.attn_mask": mask}
    found = split({f"_forward_module.{name}": tensor for name, tensor in tensors.items()})
    assert found.text.keys() == parts.text.keys() and not found.image and not found.vae


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("transformer.resblocks.1.ln_1.weight", r"The tower lacks 1 tensors \(text_model.encoder.layers.1.layer_norm1.weight\)"),
        ("token_embedding.weight", r"The tower lacks its token embedding"),
    ],
)
def test_a_text_tower_that_lacks_a_tensor(parts, lost, message):
    tower = {name: tensor for name, tensor in parts.text.items() if name != lost}
    with pytest.raises(CheckpointError, match=message):
        make_clip(tower, HEAD, "The tower")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("transformer.resblocks.2.mlp.c_fc.bias", r"The tower lacks 1 tensors \(vision_model.encoder.layers.2.mlp.fc1.bias\)"),
        ("conv1.weight", r"lacks the tensor vision_model.embeddings.patch_embedding.weight"),
    ],
)
def test_an_image_tower_that_lacks_a_tensor(parts, lost, message):
    tower = {name: tensor for name, tensor in parts.image.items() if name != lost}
    with pytest.raises(CheckpointError, match=message):
        make_clip_vision(tower, HEAD, "The tower")


def test_towers_of_other_heads(parts):
    with pytest.raises(CheckpointError, match=r"The tower is 48 channels wide, expected a multiple of 64"):
        make_clip(parts.text, 64, "The tower")
    with pytest.raises(CheckpointError, match=r"64 channels wide, which heads of 80 channels do not divide"):
        make_clip_vision(parts.image, 80, "The tower")


@pytest.mark.parametrize("form", [torch.float32, torch.float16])
def test_a_tower_of_the_wanted_type_is_not_copied(parts, form):
    """ComfyUI holds encoders in half precision, also on a CPU."""
    image = {name: tensor.to(form) for name, tensor in parts.image.items()}
    text = {name: tensor.to(form) for name, tensor in parts.text.items()}
    vision, clip = make_clip_vision(image, HEAD, "The image tower"), make_clip(text, HEAD, "The text tower")
    assert vision.dtype == torch.float16
    patches = vision.model.vision_model.embeddings.patch_embedding.weight
    tokens = clip.cond_stage_model.clip_h.transformer.text_model.embeddings.token_embedding.weight
    same = [patches.data_ptr() == image["conv1.weight"].data_ptr(), tokens.data_ptr() == text["token_embedding.weight"].data_ptr()]
    assert same == [form == torch.float16] * 2


@pytest.mark.parametrize(("flag", "dtype", "bound"), [("fp8_e4m3fn", torch.float8_e4m3fn, 0.15), ("fp8_e5m2", torch.float8_e5m2, 0.3)])
def test_towers_in_8_bits_keep_norms_biases_and_embeddings(parts, clip, clip_vision, monkeypatch, flag, dtype, bound):
    """`--fp8_...-text-enc`, which ComfyUI takes for image encoders too."""
    monkeypatch.setattr(args, f"{flag}_text_enc", True)
    text = make_clip(parts.text, HEAD, "The text tower")
    image = make_clip_vision(parts.image, HEAD, "The image tower")
    for network in (text.cond_stage_model.clip_h.transformer, image.model):
        held = {name: tensor.dtype for name, tensor in network.state_dict().items()}
        assert {held[name] for name in held if "norm" in name or "bias" in name or "embedding" in name} == {torch.float32}  # the file's
        assert {held[name] for name in held if name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))} == {dtype}
    found, expected = (c.encode_from_tokens(c.tokenize("a bear plays a guitar")) for c in (text, clip))
    assert (found - expected).norm() < bound * expected.norm()
    pixels = load(GOLDEN)["tokens.p0.pixels"]
    comfy.model_management.load_models_gpu([image.patcher, clip_vision.patcher])
    found, expected = (vision.model(pixel_values=pixels)[0] for vision in (image, clip_vision))
    assert (found - expected).norm() < bound * expected.norm()


def test_a_tower_beyond_the_range_is_refused(parts):
    name = "transformer.resblocks.1.mlp.c_fc.weight"
    with pytest.raises(CheckpointError, match=r"The text tower cannot be held in float16, which ends at 65504: .*mlp.fc1.weight reaches"):
        make_clip(parts.text | {name: parts.text[name] * 1e6}, HEAD, "The text tower")
    with pytest.raises(CheckpointError, match=r"The image tower cannot be held in float16, which ends at 65504: .*mlp.fc1.weight reaches"):
        make_clip_vision(parts.image | {name: parts.image[name] * 1e6}, HEAD, "The image tower")
