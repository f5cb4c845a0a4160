"""Names of the text encoder, whichever transformers wrote them."""

import pytest
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.clip_text import keys

CONFIG = keys.CLIPTextConfig(hidden_size=96, intermediate_size=100, num_hidden_layers=3, num_attention_heads=4, hidden_act="gelu")
OTHER_PARTS = ["logit_scale", "text_projection.weight", "vision_model.embeddings.class_embedding", "visual_projection.weight"]


@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_normalise(prefix):
    expected = keys.shapes(CONFIG)
    found = {prefix + name.removeprefix("text_model."): shape for name, shape in expected.items()}
    found[f"{prefix}embeddings.position_ids"] = (1, 77)
    found |= dict.fromkeys(OTHER_PARTS, (1,)) if prefix else {}
    assert keys.normalise(found) == expected


def test_round_trip():
    assert keys.read_config(keys.shapes(CONFIG), CONFIG.json_config()) == CONFIG
    assert keys.read_config(keys.shapes(CONFIG), {"num_attention_heads": 4, "hidden_act": "gelu"}) == CONFIG


def test_published_size():
    config = keys.CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu"
    )
    assert len(keys.shapes(config)) == 196
    assert sum(s[0] * (s[1] if len(s) > 1 else 1) for s in keys.shapes(config).values()) == 123_060_480


@pytest.mark.parametrize(
    ("shapes", "config", "message"),
    [
        ({}, {}, "lacks its embeddings"),
        (keys.shapes(CONFIG), {"num_attention_heads": 4, "intermediate_size": 4}, "intermediate_size = 4, expected 100"),
        (keys.shapes(CONFIG), {"num_attention_heads": 7}, "7 heads do not divide"),
        (keys.shapes(CONFIG), {"num_attention_heads": 4, "hidden_act": "relu"}, "activation is relu"),
    ],
)
def test_refusals(shapes, config, message):
    with pytest.raises(CheckpointError, match=message):
        keys.read_config(shapes, config)
