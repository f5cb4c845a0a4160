"""The weights that these numbers were recorded with, made from names: integers only, until a last scaling and rounding.

A tensor is made of the bytes of MT19937, seeded with crc32(name) XOR the seed of its network. Four 16-bit words, summed, are close
to normal (Irwin-Hall); they are scaled as weights usually are and rounded to float16. Tables of positions follow their formula.
"""

import hashlib
import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from cinemo_pack.cinemo_core.models.animate_anyone.positions import position_table

WORDS_MEAN, WORDS_DEVIATION = 4 * 65535 / 2, 37837.2270265
NORMS = ("norm", "norm1", "norm2", "norm3", "ff_norm", "conv_norm_out", "norms.0", "norms.1")
QUERIES = ("to_q.weight", "to_k.weight")
TABLE = ".pe"


def weight(name: str, shape: list[int], seed: int) -> torch.Tensor:
    count = math.prod(shape)
    words = np.frombuffer(np.random.RandomState((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF).bytes(8 * count), "<u2")
    z = (words.reshape(count, 4).astype(np.int64).sum(axis=1) - int(WORDS_MEAN)) / WORDS_DEVIATION
    module, _, leaf = name.rpartition(".")
    if leaf == "bias":
        z = 0.1 * z
    elif module.endswith(tuple(f".{norm}" for norm in NORMS)) or module in NORMS:
        z = 1 + 0.2 * z
    else:
        z = (1.4 if name.endswith(QUERIES) else 1.0) / math.sqrt(math.prod(shape[1:])) * z
    return torch.from_numpy(z.reshape(shape).astype(np.float16)).float()


def network(facts: Mapping) -> dict[str, torch.Tensor]:
    """The tensors of one published file, from what a `.json` says of it; compared with the recorded checksum."""
    tensors = {
        name: position_table(shape[1], shape[2]) if name.endswith(TABLE) else weight(name, shape, facts["seed"])
        for name, shape in facts["keys"].items()
    }
    if (found := checksum_of(tensors)) != facts["sha256"]:
        raise ValueError(f"the weights have checksum {found}, recorded is {facts['sha256']}")
    return tensors


def checksum_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over name and float16 bytes of all tensors in the order of their names, but the tables, which are made with libm."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        if not name.endswith(TABLE):
            total.update(name.encode())
            total.update(tensors[name].numpy().astype("<f2").tobytes())
    return total.hexdigest()


def joined(networks: Mapping[str, Mapping]) -> dict[str, torch.Tensor]:
    """Published files, by their names, joined as a set."""
    return {f"{file}.{name}": tensor for file, facts in networks.items() for name, tensor in network(facts).items()}
