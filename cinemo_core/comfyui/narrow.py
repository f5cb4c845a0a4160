"""Weights in a number format that is narrower than their file's: which keep their own, which are scaled, which are refused.

An 8-bit float has 2 or 3 bits of precision and ends at 448 (e4m3fn) or 57344 (e5m2). The large matrices stand that. Norms,
biases, embeddings and a network's ends do not, and cost next to nothing: they keep the format of the file, and ComfyUI's
operations cast them while they are used. So does a weight that is so small that the format has hardly any digits left for it.
A weight beyond the range would become NaN or infinite, so it is looked for before anything is built. Of linear layers ComfyUI
can hold it with a scale (its "mixed precision" layout, `comfy_quant`).
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import comfy.model_management
import torch
from comfy.quant_ops import QUANT_ALGOS, get_layout_class

from ..errors import CheckpointError

QUANT_MARK = ".comfy_quant"  # ComfyUI's description of a layer whose weight has a scale
QUANT_SUFFIXES = (QUANT_MARK, ".weight_scale", ".input_scale")
SAMPLED = 64  # values of an output channel that its rounding error is measured on


@dataclass(frozen=True)
class Narrowing:
    """How the weights of one network meet the format that they are to be held in.

    own: the format of each tensor that keeps the file's. scaled: the names of the weights that get a scale: of all linear layers
    that are held in 8 bits, or none, since ComfyUI has one kind of linear layer for a network.
    """

    own: dict[str, torch.dtype] = field(default_factory=dict)
    scaled: tuple[str, ...] = ()


def plan_narrowing(
    state_dict: Mapping[str, torch.Tensor], dtype: torch.dtype, sensitive: Iterable[str], what: str, scalable: bool = True
) -> Narrowing:
    """What to do with each tensor of a network that is to be held in `dtype`; reads the values of those that get narrower.

    sensitive: prefixes of the names that keep their own format in an 8-bit network, besides norms, biases and embedding tables.
    scalable: whether the network can have scaled weights.
    Raises CheckpointError, naming it, for a weight that neither `dtype` nor a scale can hold.
    """
    own = {}
    if dtype.itemsize == 1:
        own = {name: tensor.dtype for name, tensor in state_dict.items() if keeps_own_format(name, tensor, tuple(sensitive))}
    narrowed = {name: tensor for name, tensor in state_dict.items() if name not in own and _is_narrower(dtype, tensor.dtype)}
    if dtype == torch.float8_e8m0fnu and narrowed:
        raise CheckpointError(
            f"{what} cannot be held in float8_e8m0fnu, which has powers of two alone, without sign or zero; start ComfyUI without "
            "--fp8_e8m0fnu-unet, or choose another weight_dtype."
        )
    limit = torch.finfo(dtype).max
    beyond = {name: reach for name, tensor in narrowed.items() if not (reach := _reach(tensor)) <= limit}
    if dtype.itemsize == 1:
        small = {name: tensor.dtype for name, tensor in narrowed.items() if name not in beyond and _is_drowned(tensor, dtype)}
        if small:
            logging.info("%s: too small for %s, so in the format of the file: %s", what, format_name(dtype), ", ".join(small))
        own |= small
        narrowed = {name: tensor for name, tensor in narrowed.items() if name not in small}
    if not beyond:
        return Narrowing(own)
    for name, reach in beyond.items():
        if not scalable or not _can_be_scaled(state_dict[name], dtype) or not reach < float("inf"):
            raise CheckpointError(
                f"{what} cannot be held in {format_name(dtype)}, which ends at {limit:g}: {name} reaches {reach:g}; choose another "
                "weight_dtype (bf16 or fp32), or start ComfyUI without the flag that sets it."
            )
    return Narrowing(own, tuple(name for name, tensor in narrowed.items() if _can_be_scaled(tensor, dtype)))


def keeps_own_format(name: str, tensor: torch.Tensor, sensitive: tuple[str, ...]) -> bool:
    """Whether a tensor stays out of 8 bits: a norm, a bias or another vector, an embedding table, or one of the sensitive."""
    return tensor.ndim < 2 or "embedding" in name or "attention_bias" in name or name.startswith(sensitive)


def keep_own_formats(network: torch.nn.Module, own: Mapping[str, torch.dtype]) -> None:
    """Give parameters of a network that holds no weights yet the formats of `own`, also where ComfyUI makes them later."""
    for name, dtype in own.items():
        path, _, leaf = name.rpartition(".")
        module = network.get_submodule(path)
        parameter = getattr(module, leaf, None)
        if parameter is not None:
            parameter.data = parameter.data.to(dtype)
        setattr(module, f"{leaf}_comfy_model_dtype", dtype)


def scale_weights(state_dict: dict[str, torch.Tensor], names: Iterable[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors with those of `names` in ComfyUI's layout of scaled weights, which it computes with in full precision."""
    form = format_name(dtype)
    layout = get_layout_class(QUANT_ALGOS[form]["comfy_tensor_layout"])
    mark = torch.tensor(list(json.dumps({"format": form, "full_precision_matrix_mult": True}).encode()), dtype=torch.uint8)
    out = dict(state_dict)
    for name in names:
        layer = name.removesuffix(".weight")
        values, params = layout.quantize(state_dict[name].float(), scale="recalculate")
        out |= {name: values, f"{layer}.weight_scale": params.scale, layer + QUANT_MARK: mark}
    return out


def without_scales(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without those that ComfyUI adds for scaled weights: what an unscaled network has."""
    return {name: tensor for name, tensor in state_dict.items() if not name.endswith(QUANT_SUFFIXES)}


def _is_narrower(dtype: torch.dtype, than: torch.dtype) -> bool:
    if not than.is_floating_point:
        return False
    return dtype.itemsize < than.itemsize or torch.finfo(dtype).max < torch.finfo(than).max


def _can_be_scaled(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    return tensor.ndim == 2 and format_name(dtype) in QUANT_ALGOS


def _reach(tensor: torch.Tensor) -> float:
    """The largest absolute value; NaN if there is one."""
    low, high = torch.aminmax(tensor.float() if tensor.dtype in comfy.model_management.FLOAT8_TYPES else tensor)
    return torch.maximum(-low, high).item()


def _is_drowned(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether `dtype` is off by more than a unit in the last place in some output channel, as only values below its normal ones are."""
    rows = tensor.flatten(1)
    if rows.shape[1] > SAMPLED:
        # Not every n-th: that could be the same place of a kernel each time, whose values are like no others.
        rows = rows[:, torch.linspace(0, rows.shape[1] - 1, SAMPLED).long()]
    rows = rows.double()
    errors = (rows.to(dtype).double() - rows).norm(dim=1)
    return (errors > torch.finfo(dtype).eps * rows.norm(dim=1)).any().item()


def format_name(dtype: torch.dtype) -> str:
    """Such as float8_e4m3fn."""
    return str(dtype).removeprefix("torch.")
