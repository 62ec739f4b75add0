"""A checksum inside a JSON object, which shows when something else has changed the file."""

from __future__ import annotations

import json
import zlib
from typing import Any

#: Entry with the CRC-32 of all others.
_SEAL = "crc32"


def add_seal(content: dict[str, Any]) -> dict[str, Any]:
    """Return plain JSON values with the checksum."""
    return content | {_SEAL: _compute(content)}


def remove_seal(content: dict[str, Any]) -> bool:
    """Remove the checksum; return whether it fits. Files of earlier versions have none."""
    seal = content.pop(_SEAL, None)
    return seal is None or seal == _compute(content)


def _compute(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())  # ASCII: also of odd text
