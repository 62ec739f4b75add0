"""A GGUF file of a one-layer Llama with hidden size 8, whose tokens are the 256 bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH = 8
_TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
_TYPES = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
_SHAPES = {
    "token_embd.weight": (len(_TOKENS), WIDTH),
    "blk.0.attn_norm.weight": (WIDTH,),
    "blk.0.attn_q.weight": (WIDTH, WIDTH),
    "blk.0.attn_k.weight": (WIDTH, WIDTH),
    "blk.0.attn_v.weight": (WIDTH, WIDTH),
    "blk.0.attn_output.weight": (WIDTH, WIDTH),
    "blk.0.ffn_norm.weight": (WIDTH,),
    "blk.0.ffn_gate.weight": (2 * WIDTH, WIDTH),
    "blk.0.ffn_up.weight": (2 * WIDTH, WIDTH),
    "blk.0.ffn_down.weight": (WIDTH, 2 * WIDTH),
    "output_norm.weight": (WIDTH,),
}


def write(path: Path, chat_template: str = "") -> Path:
    """Write the file, with the same content each time, and return its path."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(1 << 16)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(_TOKENS)
    writer.add_token_scores([0.0] * len(_TOKENS))
    writer.add_token_types(_TYPES)
    if chat_template:
        writer.add_chat_template(chat_template)
    generator = np.random.default_rng(0)
    for name, shape in _SHAPES.items():
        writer.add_tensor(name, generator.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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
