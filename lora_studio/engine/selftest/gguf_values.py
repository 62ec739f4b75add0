"""Compare the header of a GGUF file with the header that the converter would write now."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lora_studio.core.messages import Text, text
from lora_studio.engine.model import gguf_header, gguf_layout
from lora_studio.engine.model.gguf_layout import GgufLayout, GgufTensor
from lora_studio.engine.selftest.tensor_faults import TensorFault
from lora_studio.engine.selftest.value_differences import (
    MISSING,
    describe_difference,
    iter_differences,
)

#: Keys that describe where the model comes from; no loader acts on them.
_COSMETIC = re.compile(
    r"general\.(name|basename|finetune|size_label|author|organization|version|description|tags|"
    r"languages|quantized_by|url|doi|uuid|repo_url|license(\..*)?|source\..*|base_model\..*|"
    r"dataset\..*|datasets)|quantize\.imatrix\..*"
)

#: llama.cpp's loader derives the behavior of Phi-3's tokens from this part of `general.name`.
_PHI3 = re.compile(r"phi-?3", re.IGNORECASE)

_FILE_TYPE = "general.file_type"

#: Number of a float32 among the types of values.
_FLOAT32 = 6


def find_value_differences(
    actual: GgufLayout, expected: GgufLayout, kind: str, *, same_converter: bool
) -> list[Text]:
    """Return every key whose value differs; `kind` is the quantization of the file.

    Another version of the converter may write more or fewer keys.
    """
    differences: list[Text] = []
    for key in [*expected.values, *(key for key in actual.values if key not in expected.values)]:
        if _COSMETIC.fullmatch(key):
            continue
        if (key in actual.values) != (key in expected.values):
            if same_converter or key.startswith("tokenizer."):
                pair = [_read(layout, key) for layout in (expected, actual)]
                differences.append(describe_difference(key, *pair))
        elif key == _FILE_TYPE:
            differences += _iter_file_type_differences(actual, kind)
        else:
            differences += _iter_value_differences(key, expected, actual)
    names = [str(_read(layout, "general.name")) for layout in (expected, actual)]
    if bool(_PHI3.search(names[0])) != bool(_PHI3.search(names[1])):
        differences.append(describe_difference("general.name", *names))
    return differences


def find_tensor_list_faults(actual: GgufLayout, expected: GgufLayout) -> list[TensorFault]:
    """Return tensors that are missing, additional, or of another shape or unknown type."""
    faults = [
        TensorFault(name, "additional") for name in actual.tensors if name not in expected.tensors
    ]
    for name, wanted in expected.tensors.items():
        stored = actual.tensors.get(name)
        if stored is None:
            faults.append(TensorFault(name, "missing"))
        elif stored.shape != wanted.shape:
            faults.append(TensorFault(name, "shape", _format_shape(stored), _format_shape(wanted)))
        elif stored.bytes is None:
            actual_type, expected_type = map(gguf_layout.get_type_name, (stored.type, wanted.type))
            faults.append(TensorFault(name, "type", actual_type, expected_type))
    return faults


def find_type_faults(
    actual: GgufLayout, expected: GgufLayout, planned: dict[str, str] | None
) -> list[TensorFault]:
    """Return tensors of another type than the quantizer chooses.

    `planned` has its choices by tensor, None if they are unknown; other tensors keep the type that
    the converter writes.
    """
    faults: list[TensorFault] = []
    if planned is None:
        return faults
    for name, wanted in expected.tensors.items():
        stored = actual.tensors.get(name)
        kind = planned.get(name) or gguf_layout.get_type_name(wanted.type)
        if stored is not None and (stored_kind := gguf_layout.get_type_name(stored.type)) != kind:
            faults.append(TensorFault(name, "type", stored_kind, kind))
    return faults


def _format_shape(tensor: GgufTensor) -> str:
    return " × ".join(map(str, tensor.shape))


def _iter_value_differences(key: str, expected: GgufLayout, actual: GgufLayout) -> Iterator[Text]:
    if expected.values[key].type != actual.values[key].type:
        yield text("{key} is stored as another type of value than llama.cpp expects", key=key)
    elif expected.read_raw(key) != actual.read_raw(key):
        yield from iter_differences(_read(expected, key), _read(actual, key), key)


def _iter_file_type_differences(actual: GgufLayout, kind: str) -> Iterator[Text]:
    """Yield a difference if the file says that it has another quantization."""
    from gguf.constants import LlamaFileType

    name = "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"
    stored = _read(actual, _FILE_TYPE)
    known = getattr(LlamaFileType, name, None)
    if known is not None and stored != known.value:
        yield describe_difference(_FILE_TYPE, known.value, stored)


def _read(layout: GgufLayout, key: str) -> Any:
    """Return a value for people: a float32 with its own digits, not those of its 64 bits."""
    if key not in layout.values:
        return MISSING
    value, stored = layout.read_value(key), layout.values[key]
    if _FLOAT32 in stored.type and stored.kind in (_FLOAT32, gguf_header.LIST):
        floats = value if isinstance(value, list) else [value]
        shown = [float(str(np.float32(item))) if math.isfinite(item) else str(item) for item in floats]  # fmt: skip
        return shown if isinstance(value, list) else shown[0]
    return value
