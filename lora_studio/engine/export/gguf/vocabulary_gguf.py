"""A GGUF file with the vocabulary of a model folder and no model, for which llama-server builds prompts.

llama-server doesn't load a file without weights, so the file has those of a Llama with one small layer. They
are zero, and are never run: `/apply-template` and `/tokenize` only read the vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lora_studio.engine.export.gguf.converter import choose_model_name, convert
from lora_studio.engine.model import gguf_header
from lora_studio.engine.model.gguf_header import LIST
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    import gguf

#: Width of the layer, and its context in tokens.
_WIDTH, _CONTEXT = 32, 4096

_MATRICES = (
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip


def write_vocabulary(
    folder: Path, scratch: Path, llama_cpp: str, job: JobContext, *, adds_bos: bool
) -> Path:
    """Return a new file in `scratch` with a model folder's vocabulary and chat template.

    Only settings and tokenizer are read. Without `adds_bos`, prompts don't start with the tokenizer's BOS.
    Raises ProblemError, also for architectures and tokenizers that the converter doesn't know.
    """
    import gguf

    converted, target = scratch / "converted.gguf", scratch / "vocabulary.gguf"
    name = choose_model_name(folder.name, folder)
    convert(folder, converted, name, llama_cpp, job, vocabulary_only=True, adds_bos=adds_bos)
    vocabulary = gguf_header.read_layout(converted)
    writer = gguf.GGUFWriter(target, "llama")
    for key, value in vocabulary.values.items():
        if key == "general.name" or key.startswith("tokenizer."):
            items = gguf.GGUFValueType(value.item_kind) if value.kind == LIST else None
            kind = gguf.GGUFValueType(value.kind)
            writer.add_key_value(key, vocabulary.read_value(key), kind, sub_type=items)
    tokens = len(vocabulary.read_value("tokenizer.ggml.tokens"))
    _add_layer(writer, tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_layer(writer: gguf.GGUFWriter, tokens: int) -> None:
    """Add the keys and weights of a Llama that has this number of tokens."""
    writer.add_block_count(1)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH)
    writer.add_vocab_size(tokens)
    shapes = {f"blk.0.{name}.weight": (_WIDTH, _WIDTH) for name in _MATRICES}
    norms = {f"{name}.weight": (_WIDTH,) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}  # fmt: skip
    for name, shape in {"token_embd.weight": (tokens, _WIDTH), **shapes, **norms}.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
