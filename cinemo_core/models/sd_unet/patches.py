"""The patches of `transformer_options` that ComfyUI's own SD UNet takes (`openaimodel.py`, `attention.py` there)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Control = dict[str, list[Tensor | None]]


def patches(options: dict, name: str) -> tuple | list:
    return options.get("patches", {}).get(name, ())


def patch_maps(name: str, h: Tensor, options: dict, seen: dict | None = None) -> Tensor:
    """Run the patches that take maps or tokens alone; `seen` is what they are given with it, by default all the options."""
    for patch in patches(options, name):
        h = patch(h, options if seen is None else seen)
    return h


def patch_attention(name: str, inputs: tuple[Tensor, Tensor, Tensor], options: dict, seen: dict) -> tuple[Tensor, Tensor, Tensor]:
    """Run the patches that take the input, the context and the value of an attention."""
    for patch in patches(options, name):
        inputs = patch(*inputs, seen)
    return inputs


def block_options(options: dict, heads: int, head_dim: int) -> dict[str, Any]:
    """What the patches inside a transformer block are given."""
    seen = {k: v for k, v in options.items() if k not in ("patches", "patches_replace")}
    return seen | {"n_heads": heads, "dim_head": head_dim, "attn_precision": None}


def replacement(name: str, options: dict) -> Callable | None:
    """The function that replaces attention `name` of this block, addressed by block and index or by block alone."""
    block = options.get("block")
    if block is None:
        return None
    by_block = options.get("patches_replace", {}).get(name, {})
    return by_block.get((*block, options.get("block_index", 0)), by_block.get(block))


def add_control(x: Tensor, control: Control | None, place: str) -> Tensor:
    """Add the next ControlNet residual for this place, taken from the end of its list as ComfyUI's UNet does."""
    if control and control.get(place):
        residual = control[place].pop()
        if residual is not None:
            x = x + residual
    return x
