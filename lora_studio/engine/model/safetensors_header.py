"""Read the headers of safetensors files, without torch.

Format: 8 bytes little-endian length, a JSON header {name: {dtype, shape, data_offsets}}, the data
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lora_studio.core.messages import text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import open_regular

#: Tensor name -> {dtype, shape, data_offsets}; offsets count from the start of the data.
Header = dict[str, dict[str, Any]]


def read_header_bytes(file: Path) -> bytes:
    """Return a file's JSON header; raises OSError and InvalidContentError."""
    with open_regular(file) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise InvalidContentError("the header is longer than the file")
        return stream.read(length)


def read_header(file: Path) -> tuple[Header, int]:
    """Return a file's tensors without its metadata, and the position of the data in bytes.

    Raises OSError, and InvalidContentError unless it is a complete safetensors file.
    """
    raw = read_header_bytes(file)
    start = 8 + len(raw)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        for entry in header.values():
            entry["dtype"], tuple(entry["shape"])
        size = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = text("its header is invalid ({reason})", reason=describe_os_error(error))
        raise InvalidContentError(reason) from error
    if start + size > file.stat().st_size:
        raise InvalidContentError("the file is truncated")
    return header, start
