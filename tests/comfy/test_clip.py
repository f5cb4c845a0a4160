"""The text encoder loader against transformers, on small random encoders."""

import json

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.clip import load_clip
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.clip_text import keys
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

PROMPTS = [
    "",
    "a cat, its tail moving; unlikely words: floccinaucinihilipilification",
    "waves " * 70,
    "waves " * 100,
]  # the last: two chunks
TOLERANCE = 1e-5


def text_model(**options) -> CLIPTextModel:
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2} | options
    model = CLIPTextModel(CLIPTextConfig(**sizes)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            noise = 0.2 * noise + (1 if "norm" in name and name.endswith("weight") else 0)
        else:
            noise /= parameter.shape[1] ** 0.5
        parameter.data = noise.half().float()  # ComfyUI keeps text encoders in float16: values that it holds exactly
    return model


@pytest.fixture
def folder(tmp_path):
    text_model().save_pretrained(tmp_path / "text_encoder")
    return tmp_path / "text_encoder"


def with_prefix(state_dict: dict) -> dict:
    """As transformers 4 named them, whatever the version at hand does."""
    return {k if k.startswith("text_model.") else f"text_model.{k}": v.contiguous() for k, v in state_dict.items()}


def without_prefix(state_dict: dict) -> dict:
    return {k.removeprefix("text_model."): v.contiguous() for k, v in state_dict.items()}


def change_config(folder, **options) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


def hidden_state(clip, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """ComfyUI's conditioning for a prompt, and the tokens it came from."""
    tokens = clip.tokenize(prompt)
    ids = torch.tensor([[token for token, _ in chunk] for chunk in tokens["l"]])
    return clip.encode_from_tokens(tokens), ids


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_size": 96, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 200},
        {"hidden_size": 128, "num_attention_heads": 8, "hidden_act": "gelu"},
    ],
)
@pytest.mark.parametrize("form", ["safetensors", "prefixed .bin", "bare .bin"])
def test_last_hidden_state_equals_transformers(tmp_path, options, form):
    reference = text_model(**options)
    reference.save_pretrained(tmp_path)
    if form != "safetensors":
        (tmp_path / "model.safetensors").unlink()
        rename = with_prefix if form == "prefixed .bin" else without_prefix
        state_dict = rename(reference.state_dict())
        prefix = "text_model." if form == "prefixed .bin" else ""
        state_dict[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]
        torch.save(state_dict, tmp_path / "pytorch_model.bin")

    clip = load_clip(tmp_path)
    for prompt in PROMPTS:
        found, ids = hidden_state(clip, prompt)
        with torch.no_grad():
            expected = reference(ids).last_hidden_state.flatten(0, 1)[None]  # chunks follow each other
        assert expected.shape == (1, 77 * len(ids), reference.config.hidden_size)
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    assert (hidden_state(clip, "one")[0] - hidden_state(clip, "two")[0]).abs().max() > 0.1


def test_options_left_out_of_the_config_have_transformers_defaults(tmp_path):
    reference = text_model(hidden_size=64, num_attention_heads=8)
    reference.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in ("num_attention_heads", "hidden_act", "layer_norm_eps")}))
    found, ids = hidden_state(load_clip(tmp_path), "a cat")
    with torch.no_grad():
        torch.testing.assert_close(found, reference(ids).last_hidden_state, atol=TOLERANCE, rtol=0)


def test_nothing_is_missing_for_comfyui(folder, caplog):
    load_clip(folder)
    assert "missing" not in caplog.text


def test_embeddings_have_the_width_of_the_encoder(folder):
    assert load_clip(folder).tokenizer.clip_l.embedding_size == 64


def test_patcher_can_be_made_again(folder):
    clip = load_clip(folder)
    make, arguments = clip.patcher.cached_patcher_init
    again = make(*arguments, disable_dynamic=True)
    assert again is not clip.patcher
    name = "clip_l.transformer.text_model.encoder.layers.1.mlp.fc2.weight"
    assert torch.equal(again.model.state_dict()[name], clip.patcher.model.state_dict()[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"vocab_size": 30000, "eos_token_id": 29999, "bos_token_id": 29998, "pad_token_id": 29997},
            "knows 30000 tokens, expected CLIP's 49408",
        ),
        ({"max_position_embeddings": 248}, "reads 248 tokens at a time, expected CLIP's 77"),
        ({"hidden_act": "relu"}, "activation is relu"),
    ],
)
def test_other_encoders_are_refused(tmp_path, options, message):
    text_model(**options).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_clip(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_attention_heads": 5}, "5 heads do not divide"),
        ({"hidden_size": 768}, "hidden_size = 768, expected 64"),
        ({"num_hidden_layers": 12}, "num_hidden_layers = 12, expected 2"),
        ({"layer_norm_eps": 1e-3}, "layer_norm_eps = 0.001"),
    ],
)
def test_config_of_another_encoder_is_refused(folder, options, message):
    change_config(folder, **options)
    with pytest.raises(CheckpointError, match=message):
        load_clip(folder)


def test_missing_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="has no config.json"):
        load_clip(folder)


def test_damaged_config_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not a JSON object"):
        load_clip(folder)


def test_incomplete_encoder_is_refused(folder):
    path = folder / "model.safetensors"
    state_dict = load_file(path)
    del state_dict[next(k for k in state_dict if k.endswith("final_layer_norm.bias"))]
    save_file(state_dict, path)
    with pytest.raises(CheckpointError, match="lacks 1 tensors"):
        load_clip(folder)


def test_another_model_is_refused(drawn):
    with pytest.raises(CheckpointError, match="is a VAE, expected a CLIP text encoder"):
        load_clip(drawn / "vae")


class TestTokenizer:
    def vocabulary(self, size: int) -> dict[str, int]:
        words = {f"word{i}": i for i in range(size - 2)}
        return words | {"<|startoftext|>": size - 2, "<|endoftext|>": size - 1}

    def test_clip_vocabulary_passes(self, folder, tmp_path):
        (tmp_path / "vocab.json").write_text(json.dumps(self.vocabulary(keys.VOCABULARY)))
        load_clip(folder, tmp_path)

    def test_folder_without_vocabulary_passes(self, folder, tmp_path):
        load_clip(folder, tmp_path)

    @pytest.mark.parametrize("name", ["vocab.json", "tokenizer.json"])
    def test_other_vocabulary_is_refused(self, folder, tmp_path, name):
        vocabulary = self.vocabulary(1000)
        (tmp_path / name).write_text(json.dumps(vocabulary if name == "vocab.json" else {"model": {"vocab": vocabulary}}))
        with pytest.raises(CheckpointError, match="tokenizer of 1000 tokens"):
            load_clip(folder, tmp_path)
