"""Names, shapes and configuration of a CLIP text encoder as transformers saves it.

transformers 4 writes the names with the prefix `text_model.`, version 5 without; older files carry a buffer of position
ids. ComfyUI's network has the prefix and no buffer.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import CheckpointError
from ...files.checkpoint import Shapes, size_of

PREFIX = "text_model."
VOCABULARY = 49408
START_TOKEN, END_TOKEN = 49406, 49407
MAX_TOKENS = 77
ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")
LAYER_NORM_EPS = 1e-5
# transformers leaves options with these values out of config.json
DEFAULT_HEADS = 8
DEFAULT_ACTIVATION = "quick_gelu"


@dataclass(frozen=True)
class CLIPTextConfig:
    """Sizes of the encoder under the names of transformers' config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    vocab_size: int = VOCABULARY
    max_position_embeddings: int = MAX_TOKENS
    eos_token_id: int = END_TOKEN

    def __post_init__(self) -> None:
        if self.vocab_size != VOCABULARY:
            raise CheckpointError(
                f"The text encoder knows {self.vocab_size} tokens, expected CLIP's {VOCABULARY}: "
                "use the text_encoder folder of the same checkpoint."
            )
        if self.max_position_embeddings != MAX_TOKENS:
            raise CheckpointError(
                f"The text encoder reads {self.max_position_embeddings} tokens at a time, expected CLIP's {MAX_TOKENS}: "
                "use the text_encoder folder of the same checkpoint."
            )
        if not isinstance(self.num_attention_heads, int) or self.num_attention_heads < 1:
            raise CheckpointError(
                f"The text encoder's config.json says num_attention_heads = {self.num_attention_heads!r}, expected a whole number "
                "from 1 on: restore the one of these weights."
            )
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"The text encoder is {self.hidden_size} channels wide, which {self.num_attention_heads} heads do not divide: "
                "its config.json belongs to other weights; restore the right one."
            )
        if self.hidden_act not in ACTIVATIONS:
            raise CheckpointError(f"The text encoder's activation is {self.hidden_act}, expected one of {', '.join(ACTIVATIONS)}.")

    def json_config(self) -> dict[str, Any]:
        return asdict(self)


def normalise(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The text encoder's tensors with the prefix `text_model.`; buffers and the other parts of a CLIP model are dropped."""
    if any(key.startswith(PREFIX) for key in state_dict):
        kept = {key: value for key, value in state_dict.items() if key.startswith(PREFIX)}
    else:
        kept = {
            PREFIX + key: value for key, value in state_dict.items() if key.startswith(("embeddings.", "encoder.", "final_layer_norm."))
        }
    return {key: value for key, value in kept.items() if not key.endswith("embeddings.position_ids")}


def read_config(shapes: Shapes, config: Mapping[str, Any]) -> CLIPTextConfig:
    """The configuration from normalised shapes, with heads and activation, which no shape shows, from config.json.

    Raises CheckpointError where these are not the shapes of a CLIP text encoder, or config.json contradicts them.
    """
    parts = ("embeddings.token_embedding", "embeddings.position_embedding", "encoder.layers.0.mlp.fc1")
    names = [f"{PREFIX}{part}.weight" for part in parts]
    if not all(name in shapes for name in names):
        raise CheckpointError(
            "The text encoder lacks its embeddings or its layers: the file is incomplete or of another model; choose CLIP's."
        )
    tokens, positions, inner = (size_of(shapes, name, 2, "The text encoder") for name in names)
    layers = 0
    while f"{PREFIX}encoder.layers.{layers}.mlp.fc1.weight" in shapes:
        layers += 1
    sizes = {
        "hidden_size": tokens[1],
        "intermediate_size": inner[0],
        "num_hidden_layers": layers,
        "vocab_size": tokens[0],
        "max_position_embeddings": positions[0],
    }
    for name, value in (sizes | {"layer_norm_eps": LAYER_NORM_EPS}).items():
        if config.get(name, value) != value:
            raise CheckpointError(
                f"The text encoder's config.json says {name} = {config[name]!r}, expected {value}: restore the one of these weights."
            )
    return CLIPTextConfig(
        num_attention_heads=config.get("num_attention_heads", DEFAULT_HEADS),
        hidden_act=config.get("hidden_act", DEFAULT_ACTIVATION),
        **sizes,
    )


def shapes(config: CLIPTextConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a text encoder of this configuration."""
    width, inner = config.hidden_size, config.intermediate_size
    out: dict[str, tuple[int, ...]] = {
        f"{PREFIX}embeddings.token_embedding.weight": (config.vocab_size, width),
        f"{PREFIX}embeddings.position_embedding.weight": (config.max_position_embeddings, width),
    }
    layer = {f"self_attn.{p}_proj": (width, width) for p in "qkv"} | {
        "self_attn.out_proj": (width, width),
        "layer_norm1": (width,),
        "layer_norm2": (width,),
        "mlp.fc1": (inner, width),
        "mlp.fc2": (width, inner),
    }
    modules = {f"encoder.layers.{i}.{name}": shape for i in range(config.num_hidden_layers) for name, shape in layer.items()}
    for name, shape in (modules | {"final_layer_norm": (width,)}).items():
        out[f"{PREFIX}{name}.weight"] = shape
        out[f"{PREFIX}{name}.bias"] = shape[:1]
    return out
