"""Reader of Weights & Biases' offline files: protobuf records in LevelDB's log format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768
#: Types of a record's first and middle parts; 1 is a complete record and 4 a last part.
_FIRST, _MIDDLE = 2, 3


def records(file: Path) -> Iterator[Any]:
    """Yield every record of a .wandb file."""
    from wandb.proto import wandb_internal_pb2

    data, offset, payload = file.read_bytes(), 7, b""
    while offset + 7 <= len(data):
        if _BLOCK - offset % _BLOCK < 7:  # the rest of the block is too short for a header
            offset += _BLOCK - offset % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        payload += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind not in (_FIRST, _MIDDLE):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            payload = b""
            yield record
