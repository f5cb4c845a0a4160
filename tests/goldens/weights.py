"""The weights of the small network `unet_tiny_a`, made again from their rule instead of stored (13 MB in float16).

Each tensor has its own generator, seeded with crc32(key) XOR 20240611, cut to 31 bits. Values are normal, then rounded to float16.

The originals came from `torch.randn`, whose vectorised logarithm and sines differ in the last bit from one kind of CPU
to another. So its Box-Muller transform is repeated here on `torch.rand`, which is exact everywhere, with correctly
rounded functions; the few values in 6.6 million that fall on the other side of a float16 rounding are listed in
`unet_tiny_a.weights.json`, beside the shapes and a checksum of the result.
"""

import functools
import hashlib
import json
import math
import zlib
from pathlib import Path

import torch

RULE_FILE = Path(__file__).parent / "unet_tiny_a.weights.json"
BLOCK = 16  # torch.randn transforms 16 uniform numbers at a time: 8 radii and 8 angles


@functools.cache
def rule() -> dict:
    """Seed, shapes, exceptions and checksum of the state dict."""
    return json.loads(RULE_FILE.read_text())


def tiny_a_state_dict() -> dict[str, torch.Tensor]:
    """State dict of `unet_tiny_a` in the published (diffusers) layout: 536 float32 tensors, every value exact in float16."""
    return {key: _tensor(key, tuple(shape)).clone() for key, shape in rule()["shapes"].items()}


def checksum(state_dict: dict[str, torch.Tensor]) -> str:
    """SHA-256 over keys, shapes and float32 values, in the order of the keys."""
    digest = hashlib.sha256()
    for key in sorted(state_dict):
        tensor = state_dict[key].float().contiguous()
        digest.update(f"{key}{list(tensor.shape)}".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


@functools.cache
def _tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    if key.endswith("rotary_emb.freqs"):
        return 1 / 10000 ** (torch.arange(0, 32, 2).float() / 32)
    is_norm_weight = len(shape) == 1 and key.endswith(".weight")
    values = _normal(shape, (zlib.crc32(key.encode()) ^ rule()["seed"]) & 0x7FFFFFFF) * _std(key, shape)
    values = ((1 + values) if is_norm_weight else values).half().float()
    for index, value in rule()["exceptions"].get(key, {}).items():
        values.view(-1)[int(index)] = value
    return values


def _std(key: str, shape: tuple[int, ...]) -> float:
    if "relative_attention_bias" in key:
        return 0.7
    if len(shape) == 1:
        return 0.2 if key.endswith(".weight") else 0.1
    gain = 1.4 if "to_q" in key or "to_k" in key else 1.0
    return gain / math.sqrt(math.prod(shape[1:]))


def _normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if math.prod(shape) < BLOCK:
        return torch.randn(shape, generator=generator)  # few numbers are transformed one by one, in double precision
    uniform = torch.rand(math.prod(shape), generator=generator).view(-1, 2, BLOCK // 2)
    radius = (-2 * (1 - uniform[:, 0]).double().log().float()).sqrt()
    angle = (torch.tensor(2 * math.pi) * uniform[:, 1]).double()
    return torch.stack([radius * angle.cos().float(), radius * angle.sin().float()], dim=1).reshape(shape)
