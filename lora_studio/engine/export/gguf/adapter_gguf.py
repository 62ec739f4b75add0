"""Write an adapter alone as a GGUF file, for llama.cpp's `--lora`.

llama.cpp knows one alpha per file and scales each update by alpha / rank, so everything else that PEFT
scales by (rsLoRA, patterns of alphas and ranks) is multiplied into B. What it can't apply is refused: it
ignores some of it, and the answers would be wrong without a message.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lora_studio.core.lora.adapters import require_mergeable
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import write_file
from lora_studio.engine.export.gguf.converter import choose_model_name, convert, convert_adapter
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer
from lora_studio.engine.model import gguf_header, safetensors_files
from lora_studio.engine.model.gguf_header import LIST
from lora_studio.engine.model.safetensors_files import PlannedFile
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    import gguf


def write_adapter_gguf(
    folder: Path, model: Path, target: Path, llama_cpp: str, job: JobContext
) -> Text:
    """Write the adapter in `folder` to the file `target`; return the llama.cpp that wrote it.

    Of `model`, its base, only settings and tokenizer are read. Raises ProblemError, also for an adapter
    that llama.cpp can't apply as it was trained.
    """
    adapter = adapter_files.read(folder)
    require_mergeable(adapter.config)
    if reason := explain_unsupported(adapter):
        raise fail(
            "gguf.adapter_unsupported",
            "llama.cpp can't apply the adapter in {folder} without a merge: {reason}.",
            "Export the run to a GGUF file, which contains the merged model, and use that.",
            where=Where(step="export", file=str(folder)),
            folder=str(folder),
            reason=reason,
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        _write_plain(adapter, Path(scratch))
        return convert_adapter(Path(scratch), model, target, llama_cpp, job)


def explain_unsupported(adapter: Adapter) -> Text | None:
    """Return why llama.cpp can't apply an adapter exactly, None if it can."""
    if adapter.complication:
        return adapter.complication
    if any(layer.magnitude for layer in adapter.layers):
        return text("it is a DoRA adapter")
    if any(layer.bias for layer in adapter.layers):
        return text("it changes biases")
    if any(layer.of != "linear" for layer in adapter.layers):
        return text("it changes more than linear layers")
    if adapter.rows:
        return text("it has new tokens")
    if adapter.trained_whole:
        return counted(
            len(adapter.trained_whole),
            "it contains {n} tensor that was trained in full",
            "it contains {n} tensors that were trained in full",
        )
    return None


def _write_plain(adapter: Adapter, folder: Path) -> None:
    """Write a copy of an adapter in which alpha / rank is the scale of every update."""
    alpha = adapter.config["lora_alpha"] or adapter.config["r"]
    tensors: list[tuple[PlannedFile, Callable[[], torch.Tensor]]] = []
    for layer in adapter.layers:
        factor = layer.scale * layer.rank / alpha
        b = PlannedFile(layer.b.name, "F32", layer.b.shape)
        tensors += [
            (PlannedFile(layer.a.name, layer.a.dtype, layer.a.shape), layer.a.read),
            (b, partial(_scale, layer, factor)),
        ]
    safetensors_files.save(folder / adapter_files.WEIGHTS, tensors)
    plain = {"use_rslora": False, "alpha_pattern": {}, "rank_pattern": {}, "lora_alpha": alpha}
    write_file(folder / adapter_files.CONFIG, json.dumps(adapter.config | plain))


def _scale(layer: Layer, factor: float) -> torch.Tensor:
    return layer.b.read().to(torch.float32) * factor


# A GGUF file with the vocabulary of a model folder and no model, for which llama-server builds prompts.
#
# llama-server doesn't load a file without weights, so the file has those of a Llama with one small layer. They
# are zero, and are never run: `/apply-template` and `/tokenize` only read the vocabulary.

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
