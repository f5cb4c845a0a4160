"""Seeds from what they are for."""

import hashlib


def number(*parts: object) -> int:
    """A number of 63 bits made from these parts, the same on every machine: the seed of everything drawn at random."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
