"""Copies of GGUF files with changed keys and tensors, as a faulty converter would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

#: Stands for the value of a key or tensor that is left out.
LEFT_OUT = None


def edit(
    source: Path,
    target: Path,
    values: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> Path:
    """Write a copy of `source` with other `values` and `tensors` and return it.

    A tensor is its raw data as gguf's reader has it, or (data, type). None leaves a key or a tensor
    out, a new name adds one.
    """
    reader = gguf.GGUFReader(source)
    values, tensors = dict(values or {}), dict(tensors or {})
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, str(values.pop("general.architecture", architecture)))
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = values.pop(key, field.contents())
        if value is not LEFT_OUT:
            kind, *items = field.types
            writer.add_key_value(key, value, kind, sub_type=items[0] if items else None)
    for key, value in values.items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for tensor in reader.tensors:
        data = tensors.pop(tensor.name, tensor.data)
        if data is not LEFT_OUT:
            _add(writer, tensor.name, data, tensor.tensor_type)
    for name, data in tensors.items():
        _add(writer, name, data, gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def read_tensor(source: Path, name: str) -> np.ndarray:
    """Return the raw data of a tensor."""
    reader = gguf.GGUFReader(source)
    return np.array(next(tensor.data for tensor in reader.tensors if tensor.name == name))


def _add(writer: gguf.GGUFWriter, name: str, data: Any, kind: gguf.GGMLQuantizationType) -> None:
    if isinstance(data, tuple):
        data, kind = data
    writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=kind)
