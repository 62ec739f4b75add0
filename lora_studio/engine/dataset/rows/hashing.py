"""64-bit hashes of texts and arrays, the same in every process and on every platform."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def mix64(values: Hashes) -> Hashes:
    """Return a bijective scrambling of 64-bit values (the finalizer of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_text(text: str) -> int:
    """Return 64 bits that identify a text; 0 for an empty one.

    Two of two million texts collide with a probability of 10^-7.
    """
    if not text:
        return 0
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
