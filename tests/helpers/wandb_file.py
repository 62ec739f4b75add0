"""Reader of Weights & Biases' offline files: protobuf records in LevelDB's log format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768
_FIRST, _MIDDLE = 2, 3  # parts of a record that goes on; 1 is a whole one and 4 a last part


def records(file: Path) -> Iterator[Any]:
    """Yield every record of a .wandb file."""
    from wandb.proto import wandb_internal_pb2

    data, place, begun = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if _BLOCK - place % _BLOCK < 7:  # too little of the block is left for a header
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        begun += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (_FIRST, _MIDDLE):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(begun)
            begun = b""
            yield record
