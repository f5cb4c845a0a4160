"""Weights and inputs from names alone, the same bits on every machine: integers only, until a last scaling and rounding.

A tensor is made from the raw 64-bit words of PCG64, seeded with crc32(name) XOR a constant. The eight bytes of a word, summed,
are close to normal (Irwin-Hall); weights are then scaled as usual, rounded to float16 and used as float32.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch

BYTES_MEAN, BYTES_VARIANCE = 8 * 255 / 2, 8 * (256**2 - 1) / 12
GATES = ("alpha", "mix_factor")
BIASES = ("bias", "in_proj_bias")
TOKENS = ("latents", "class_embedding", "logit_scale")
QUERIES = ("to_q.weight", "to_k.weight", "to_k_ip.weight", "to_kv.weight", "in_proj_weight")


def words(name: str, count: int, constant: int) -> np.ndarray:
    return np.random.PCG64((zlib.crc32(name.encode()) ^ constant) & 0xFFFFFFFF).random_raw(count)


def normal(name: str, shape: tuple[int, ...] | list[int], constant: int) -> torch.Tensor:
    """Float64 of mean 0 and variance 1."""
    count = math.prod(shape)
    summed = words(name, count, constant).astype("<u8").view(np.uint8).reshape(count, 8).sum(axis=1, dtype=np.int64)
    return torch.from_numpy((summed - BYTES_MEAN) / math.sqrt(BYTES_VARIANCE)).reshape(tuple(shape))


def pixels(name: str, shape: tuple[int, ...] | list[int], constant: int) -> torch.Tensor:
    """Uint8, the low byte of each word."""
    return torch.from_numpy((words(name, math.prod(shape), constant) & 0xFF).astype(np.uint8)).reshape(tuple(shape))


def weight(name: str, shape: tuple[int, ...] | list[int], constant: int) -> torch.Tensor:
    """Float32 whose values float16 holds."""
    z = normal(name, shape, constant)
    leaf = name.rpartition(".")[2]
    if leaf in GATES:
        z = 0.8 * z
    elif leaf == "weight" and len(shape) == 1:
        z = 1 + 0.2 * z
    elif leaf in BIASES:
        z = 0.1 * z
    elif leaf == "positional_embedding":
        z = 0.3 * z
    elif leaf in ("text_projection", "proj"):
        z = z / math.sqrt(shape[0])
    elif name.endswith("token_embedding.weight"):
        z = 0.5 * z
    elif leaf not in TOKENS:
        z = z / math.sqrt(max(1, math.prod(shape[1:])))
        z = 1.4 * z if name.endswith(QUERIES) else z
    return torch.from_numpy(z.numpy().astype(np.float16)).float()  # torch rounds float64 twice on its way to float16


def state_dict(keys: Mapping[str, list[int]], constant: int, checksum: str = "") -> dict[str, torch.Tensor]:
    """The weights of these names and shapes, compared with a recorded checksum if there is one."""
    tensors = {name: weight(name, shape, constant) for name, shape in keys.items()}
    if checksum and (found := checksum_of(tensors)) != checksum:
        raise ValueError(f"the weights have checksum {found}, recorded is {checksum}")
    return tensors


def checksum_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """crc32 over the float16 bytes of all tensors in the order of their names."""
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].half().contiguous().numpy().astype("<f2").tobytes(), crc)
    return f"{crc:08x}"
