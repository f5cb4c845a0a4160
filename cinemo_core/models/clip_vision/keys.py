"""Names, shapes and configuration of a CLIP image tower as transformers and ComfyUI name its tensors (arXiv 2103.00020, sec. 2.4)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isqrt
from typing import Any

from ...errors import CheckpointError
from ...files.checkpoint import Shapes, size_of
from ..sd_unet.config import count

PREFIX = "vision_model."
PATCHES = f"{PREFIX}embeddings.patch_embedding.weight"
PROJECTION = "visual_projection.weight"
COLOURS = 3


@dataclass(frozen=True)
class CLIPVisionConfig:
    """Sizes of the tower under the names of transformers' config.json. projection_dim: None where the tower has no projection."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    patch_size: int
    image_size: int
    projection_dim: int | None
    hidden_act: str = "gelu"

    def json_config(self) -> dict[str, Any]:
        sizes = {name: value for name, value in asdict(self).items() if value is not None}
        return sizes | {"num_channels": COLOURS, "model_type": "clip_vision_model"}


def read_config(shapes: Shapes, head_dim: int, hidden_act: str = "gelu") -> CLIPVisionConfig:
    """The configuration from shapes, with the size of a head, which no shape shows.

    Raises CheckpointError where a tensor that a size is read from is missing or has another rank.
    """
    what = "The image tower"
    width, _, patch, _ = size_of(shapes, PATCHES, 4, what)
    positions = size_of(shapes, f"{PREFIX}embeddings.position_embedding.weight", 2, what)[0]
    if width % head_dim:
        raise CheckpointError(
            f"{what} is {width} channels wide, which heads of {head_dim} channels do not divide: it is of another model; "
            "use the one that the network was trained with."
        )
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=size_of(shapes, f"{PREFIX}encoder.layers.0.mlp.fc1.weight", 2, what)[0],
        num_hidden_layers=count(shapes, rf"{PREFIX}encoder\.layers\.(\d+)\."),
        num_attention_heads=width // head_dim,
        patch_size=patch,
        image_size=patch * isqrt(positions - 1),
        projection_dim=size_of(shapes, PROJECTION, 2, what)[0] if PROJECTION in shapes else None,
        hidden_act=hidden_act,
    )


def shapes(config: CLIPVisionConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a tower of this configuration."""
    width, inner, patch = config.hidden_size, config.intermediate_size, config.patch_size
    positions = (config.image_size // patch) ** 2 + 1
    layer: Mapping[str, tuple[int, ...]] = {
        **{f"self_attn.{name}": (width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
        "layer_norm1": (width,),
        "layer_norm2": (width,),
        "mlp.fc1": (inner, width),
        "mlp.fc2": (width, inner),
    }
    modules = {f"encoder.layers.{i}.{name}": shape for i in range(config.num_hidden_layers) for name, shape in layer.items()}
    modules |= {"pre_layrnorm": (width,), "post_layernorm": (width,)}  # the first is so spelt in transformers
    out: dict[str, tuple[int, ...]] = {
        f"{PREFIX}embeddings.class_embedding": (width,),
        PATCHES: (width, COLOURS, patch, patch),
        f"{PREFIX}embeddings.position_embedding.weight": (positions, width),
    }
    for name, shape in modules.items():
        out[f"{PREFIX}{name}.weight"] = shape
        out[f"{PREFIX}{name}.bias"] = shape[:1]
    if config.projection_dim is not None:
        out[PROJECTION] = (config.projection_dim, width)
    return out
