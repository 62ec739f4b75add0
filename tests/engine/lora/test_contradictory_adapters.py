"""Adapters whose weights and settings contradict each other: PEFT would leave something out without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.core.problems import ProblemError
from lora_studio.engine.lora import adapter_files
from tests.engine.conftest import TinyModel
from tests.helpers.models.adapters import random_adapter

MODULE = "model.layers.0.self_attn.q_proj"
A, B = (f"base_model.model.{MODULE}.lora_{half}.weight" for half in "AB")
MAGNITUDE = f"base_model.model.{MODULE}.lora_magnitude_vector"

Tensors = dict[str, torch.Tensor]


def repeat(tensors: Tensors) -> None:
    tensors[A.removeprefix("base_model.model.")] = tensors[A] * 100


def flatten(tensors: Tensors) -> None:
    tensors[B] = tensors[B].flatten()


def shrink(tensors: Tensors) -> None:
    tensors[A] = torch.tensor(1.0)


def add_magnitude(tensors: Tensors) -> None:
    tensors[MAGNITUDE] = torch.full((len(tensors[B]),), 50.0)


def add_bias(tensors: Tensors) -> None:
    tensors[B.replace("weight", "bias")] = torch.ones(len(tensors[B]))


def add_rows(tensors: Tensors) -> None:
    name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    tensors[name] = torch.ones(2, tensors[A].shape[1])


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        (repeat, {}, "twice"),
        (flatten, {}, "aren't matrices"),
        (shrink, {}, "aren't matrices"),
        (add_magnitude, {}, "use_dora"),
        (None, {"use_dora": True}, "use_dora"),
        (add_bias, {}, "lora_bias"),
        (add_rows, {"trainable_token_indices": [5, 5]}, "rows of its new tokens"),
        (add_rows, {"trainable_token_indices": [5, [5]]}, "rows of its new tokens"),
    ],
)  # fmt: skip
def test_contradictory_adapter_is_refused_by_its_reason(
    tiny: TinyModel,
    tmp_path: Path,
    change: Callable[[Tensors], None] | None,
    settings: dict[str, Any],
    reason: str,
) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "adapter")
    assert adapter_files.read(adapter).layers
    file = adapter / adapter_files.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
    if change is not None:
        tensors = load_file(adapter / adapter_files.WEIGHTS)
        change(tensors)
        save_file(tensors, adapter / adapter_files.WEIGHTS)
    with pytest.raises(ProblemError) as caught:
        adapter_files.read(adapter)
    problem = caught.value.problems[0]
    assert problem.code == "merging.foreign_adapter"
    assert reason in str(problem.what)
