"""Adapters as GGUF files: scales as PEFT has them, and what llama.cpp can't apply is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.export.gguf.adapter_gguf import explain_unsupported, write_adapter_gguf
from lora_studio.engine.lora import adapter_files
from tests.helpers.models.adapters import random_adapter
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.recorded_job import recorded_job


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*save_embedding_layers")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({}, "", id="lora"),
        pytest.param({"use_rslora": True, "alpha_pattern": {"q_proj": 2}}, "", id="other scales"),
        pytest.param({"use_dora": True}, "DoRA", id="dora"),
        pytest.param({"modules_to_save": ["norm"]}, "trained in full", id="norms"),
        pytest.param({"target_modules": ["embed_tokens"]}, "more than linear", id="embedding"),
        pytest.param({"init_lora_weights": "pissa"}, "pissa", id="changed base"),
    ],
)
def test_what_llama_cpp_would_ignore_is_named(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    adapter = adapter_files.read(random_adapter(base, tmp_path / "adapter", **settings))
    explanation = explain_unsupported(adapter)
    assert (reason in str(explanation)) if reason else explanation is None


def test_unsupported_adapter_is_refused_with_the_way_out(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    adapter = random_adapter(base, tmp_path / "adapter", use_dora=True)
    with pytest.raises(ProblemError) as raised:
        write_adapter_gguf(adapter, base, tmp_path / "a.gguf", "", recorded_job()[0])
    problem = raised.value.problems[0]
    assert problem.code == "gguf.adapter_unsupported"
    assert "GGUF file" in str(problem.remedy)
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.slow
def test_llama_cpp_scales_each_update_as_peft_does(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    folder = random_adapter(
        base, tmp_path / "adapter", use_rslora=True, lora_alpha=6,
        alpha_pattern={"o_proj": 3}, rank_pattern={"down_proj": 2},
    )  # fmt: skip
    target = tmp_path / "adapter.gguf"
    write_adapter_gguf(folder, base, target, "", recorded_job()[0])
    reader = gguf.GGUFReader(target)
    alpha = float(reader.get_field("adapter.lora.alpha").contents())  # type: ignore[union-attr]
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    layers = {layer.module: layer for layer in adapter_files.read(folder).layers}
    for module, name in (("self_attn.o_proj", "attn_output"), ("mlp.down_proj", "ffn_down")):
        layer = layers[f"model.layers.0.{module}"]
        b = tensors[f"blk.0.{name}.weight.lora_b"]
        expected = layer.b.read().numpy() * layer.scale
        # llama.cpp: alpha / rank, with the rank of the tensor itself.
        np.testing.assert_allclose(b * (alpha / b.shape[1]), expected, rtol=1e-6)
