"""A model that ends llama.cpp's process ends a child, not the worker."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.runtime.llama_trial import require_computable
from tests.helpers.runs.jobs import recorded_job

_SIZE, _HEADS, _HEAD, _WIDE, _TOKENS = 32, 2, 16, 64, 16

#: Tensors of a block by name, with their shapes.
_BLOCK = {
    "attn_norm": (_SIZE,), "ffn_norm": (_SIZE,), "attn_q_norm": (_HEAD,), "attn_k_norm": (_HEAD,),
    "attn_q": (_HEADS * _HEAD, _SIZE), "attn_k": (_HEADS * _HEAD, _SIZE), "attn_v": (_HEADS * _HEAD, _SIZE),
    "attn_output": (_SIZE, _HEADS * _HEAD), "ffn_gate": (_WIDE, _SIZE), "ffn_up": (_WIDE, _SIZE),
    "ffn_down": (_SIZE, _WIDE),
}  # fmt: skip


def write_file(file: Path, sections: list[int]) -> Path:
    """Write a model of one block whose rotary embeddings have `sections`."""
    writer = gguf.GGUFWriter(file, "qwen3vl")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(_SIZE)
    writer.add_feed_forward_length(_WIDE)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_sections(sections)
    writer.add_vocab_size(_TOKENS)
    writer.add_tokenizer_model("none")
    shapes = {f"blk.0.{name}.weight": shape for name, shape in _BLOCK.items()}
    shapes |= {"token_embd.weight": (_TOKENS, _SIZE), "output_norm.weight": (_SIZE,)}
    for name, shape in shapes.items():
        writer.add_tensor(name, np.full(shape, 0.01, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_assertion_of_llama_cpp_is_a_problem(tmp_path: Path) -> None:
    job = recorded_job()[0]
    require_computable(write_file(tmp_path / "fits.gguf", [2, 3, 3, 0]), job)
    with pytest.raises(ProblemError) as caught:
        require_computable(write_file(tmp_path / "large.gguf", [11, 11, 10, 0]), job)
    (problem,) = caught.value.problems
    assert problem.code == "gguf.aborted"
    assert "sect_dims" in str(problem.what)


def test_file_that_is_refused_is_left_to_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "damaged.gguf"
    file.write_bytes(b"GGUF")
    require_computable(file, recorded_job()[0])
