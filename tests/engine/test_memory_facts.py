"""The facts that memory estimates stand on: shapes of real layers, the heaviest step of real plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from lora_studio.core.model_shape import ModelShape
from lora_studio.engine import lengths, model_shape
from lora_studio.engine.batches import Plan
from tests.helpers.tiny_models import tiny_model


def shape_of(family: str, folder: Path) -> ModelShape:
    config = AutoConfig.from_pretrained(tiny_model(family, folder))
    return model_shape.shape(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("family", ["llama3", "phi3", "gemma3", "granite"])
def test_the_shape_of_a_family_has_its_widths(family: str, tmp_path: Path) -> None:
    found = shape_of(family, tmp_path)
    assert (found.intermediate_size, found.heads, found.kv_heads) == (128, 4, 2)
    assert (found.query_width, found.key_width) == (64, 32)
    assert found.gated


def test_layers_that_read_the_same_tensor_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    reads = {layer.name: layer.reads for layer in shape_of("llama3", tmp_path).linear}
    assert reads["q_proj"] == reads["k_proj"] == reads["v_proj"]
    assert reads["gate_proj"] == reads["up_proj"]
    assert len({reads[name] for name in ("q_proj", "o_proj", "gate_proj", "down_proj")}) == 4


def test_norms_of_queries_and_keys_count_by_all_their_heads(tmp_path: Path) -> None:
    assert shape_of("llama3", tmp_path / "llama3").norm_width == 2 * 64
    assert shape_of("qwen3", tmp_path / "qwen3").norm_width == 2 * 64 + 64 + 32


def test_stacked_experts_are_counted_apart_from_linear_layers(tmp_path: Path) -> None:
    found = shape_of("qwen3_moe", tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert found.experts_per_token == config.num_experts_per_tok
    assert found.expert_size == config.moe_intermediate_size
    each = 3 * 64 * config.moe_intermediate_size
    assert found.expert_parameters == config.num_hidden_layers * config.num_experts * each


def test_the_heaviest_step_is_the_one_that_a_plan_of_these_rows_has() -> None:
    rows = np.random.default_rng(3).geometric(0.01, 640)
    found = lengths.heaviest(rows)
    assert sorted(found) == [1 << n for n in range(10)] + [1024]
    for micro_batch, accumulation in ((1, 8), (4, 4), (16, 1)):
        plan = Plan(rows, micro_batch, accumulation, seed=0)
        orders = 3 * plan.steps_per_epoch
        worst = max(int(rows[plan.step(step)[0]].sum()) for step in range(orders))
        told = sum(found[micro_batch * accumulation][:micro_batch])
        assert told == worst


def test_the_heaviest_step_of_few_rows_is_all_of_them() -> None:
    found = lengths.heaviest(np.array([5, 9, 7]))
    assert found == {1: (9,), 2: (9, 7), 4: (9, 7, 5, 0)}
