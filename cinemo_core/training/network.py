"""Builds the UNet for training: from scratch, from a Cinemo checkpoint, or from an image or LaVie UNet that it grows out of.

The inference network is trained as it is. Gradient checkpointing is wrapped around its blocks from outside.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..convert import find_unet
from ..errors import CheckpointError
from ..files.checkpoint import compare, read_state_dict, shapes_of
from ..files.folder import read_config
from ..models.cinemo.attention import TemporalAttention, TransformerBlock
from ..models.cinemo.config import CinemoConfig
from ..models.cinemo.family import CINEMO
from ..models.cinemo.keys import ROTARY_SUFFIX, TABLE, is_cinemo
from ..models.cinemo.positions import NUM_BUCKETS
from ..models.cinemo.unet import CinemoUNet
from ..models.recognise import describe, recognise
from ..models.sd_unet.blocks import ResBlock, SpatialTransformer
from ..models.sd_unet.keys import without_prefix
from .group_norm import GroupNorm

SD1_HEADS = 8
# Parts of the names that a Cinemo has and an image UNet does not.
ADDED = ("attn_temp.", "norm_temp.", "motion_embed.")


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, transformer_options: dict | None = None) -> Tensor:
    """The attention that the network asks for, on torch's own kernel: [n, tokens, heads * d] in and out."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    mask = None if mask is None else mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


class Operations:
    """The layers that the network is built from."""

    Conv2d, Embedding, GroupNorm, LayerNorm, Linear = nn.Conv2d, nn.Embedding, GroupNorm, nn.LayerNorm, nn.Linear


def build(config: CinemoConfig) -> CinemoUNet:
    """A UNet in float32 with torch's own initial weights."""
    return CinemoUNet(config, attention=attention, dtype=torch.float32, device="cpu", operations=Operations)


def from_scratch(config: CinemoConfig, seed: int) -> CinemoUNet:
    """A UNet whose every block begins as the identity: what a ResBlock or a transformer adds starts at zero, as in LDM."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build(config)
    for module in unet.modules():
        if isinstance(module, ResBlock):
            zero(module.out_layers[3])
        elif isinstance(module, SpatialTransformer):
            zero(module.proj_out)
        elif isinstance(module, TemporalAttention):
            zero(module.time_rel_pos_bias.relative_attention_bias)
    zero(unet.out[2])
    return unet


def load(path: Path, motion_dim: int, seed: int) -> CinemoUNet:
    """The UNet of a checkpoint: a Cinemo, or a LaVie or SD1.x UNet with what it lacks of a Cinemo added.

    The layers that are added begin without effect: the last layer of the motion embedding and the output of temporal
    attention are zero. motion_dim: width of the motion embedding's input, where the file has none.
    Raises CheckpointError for a file that is none of these, or lacks tensors.
    """
    path = find_unet(path)
    state_dict = read_state_dict(path)
    if is_cinemo(state_dict):
        _, state_dict, config = recognise(path, state_dict, CINEMO)
        unet = build(config)
        unet.load_state_dict(state_dict)
        return unet

    found = describe(shapes_of(state_dict))
    state_dict = TABLE.to_ldm({k: v.float() for k, v in without_prefix(state_dict).items() if not k.endswith(ROTARY_SUFFIX)})
    if "input_blocks.0.0.weight" not in state_dict or not any(k.endswith("attn2.to_k.weight") for k in state_dict):
        raise CheckpointError(f"{path} is {found}; model.start needs the UNet of Cinemo, LaVie or Stable Diffusion 1.x.")
    config = CinemoConfig.from_state_dict(state_dict | stand_ins(state_dict, read_config(path.parent), motion_dim))
    unet = from_scratch(config, seed)
    for module in unet.modules():
        if isinstance(module, TemporalAttention):
            zero(module.to_out)
    zero(unet.motion_embed[2])
    own = unet.state_dict()
    added = {name: tensor for name, tensor in own.items() if any(part in name for part in ADDED) and name not in state_dict}
    compare(shapes_of(state_dict | added), shapes_of(own), f"The UNet {path}, {found},")
    unet.load_state_dict(state_dict | added)
    return unet


def stand_ins(state_dict: Mapping[str, Tensor], json_config: Mapping[str, Any], motion_dim: int) -> dict[str, Tensor]:
    """Tensors without data for those that the sizes of a Cinemo are read from and this UNet lacks."""
    heads = json_config.get("attention_head_dim", SD1_HEADS)
    heads = heads[0] if isinstance(heads, list) else heads
    blocks = [k.removesuffix("attn2.to_k.weight") for k in state_dict if k.endswith("attn2.to_k.weight")]
    wanted = {f"{block}attn_temp.time_rel_pos_bias.relative_attention_bias.weight": (NUM_BUCKETS, heads) for block in blocks}
    wanted["motion_embed.0.weight"] = (1, motion_dim)
    return {name: torch.empty(shape, device="meta") for name, shape in wanted.items() if name not in state_dict}


def output_layers(unet: CinemoUNet) -> list[nn.Module]:
    """The layers that only the last norm follows."""
    layers: list[nn.Module] = [unet.out]
    for module in unet.output_blocks[-1].modules():
        if isinstance(module, ResBlock):
            layers += [module.out_layers, module.skip_connection]
        elif isinstance(module, SpatialTransformer):
            layers.append(module.proj_out)
    return layers


def matrices(unet: CinemoUNet) -> list[nn.Parameter]:
    """The weights of attention and feed-forward in the transformers."""
    blocks = [block for block in unet.modules() if isinstance(block, TransformerBlock)]
    embeddings = {id(layer.weight) for layer in unet.modules() if isinstance(layer, nn.Embedding)}
    return [p for block in blocks for p in block.parameters() if p.ndim == 2 and id(p) not in embeddings]


def zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def checkpoint_gradients(unet: CinemoUNet) -> None:
    """Compute the states inside the blocks again in the backward pass instead of keeping them."""
    for module in unet.modules():
        if isinstance(module, ResBlock | SpatialTransformer):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]
