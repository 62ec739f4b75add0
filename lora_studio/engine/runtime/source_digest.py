"""The version of this program's own code, for the keys of caches."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import lora_studio


@functools.cache
def get_source_digest() -> str:
    """Return a SHA-256 over the version and every module of `core` and `engine`, as hex digits.

    Both decide what a row becomes, so a cache whose key holds this digest never outlives the code
    that filled it. In a frozen app, where no source files exist, the version alone counts.
    """
    digest = hashlib.sha256(lora_studio.__version__.encode())
    package = Path(lora_studio.__file__).resolve().parent
    for layer in ("core", "engine"):
        for file in sorted((package / layer).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
