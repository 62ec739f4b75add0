"""Adapters whose weights and settings contradict each other: PEFT would leave something out without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from safetensors.torch import load_file, save_file

from lora_studio.core.lora.adapters import ModuleFilter
from lora_studio.core.problems import ProblemError
from lora_studio.engine.lora import adapter_files
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import random_adapter

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
        (None, {"target_modules": ["nothing"]}, "include model.layers."),
        (None, {"target_modules": ".*k_proj"}, "include model.layers."),
        (None, {"exclude_modules": ["q_proj"]}, "include model.layers.0.self_attn.q_proj"),
        (None, {"target_modules": ["q_proj"], "layers_to_transform": [1]}, "include model.layers.0."),
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
    is_about_settings = reason.startswith("include")
    assert (
        problem.code == f"merging.{'broken_settings' if is_about_settings else 'foreign_adapter'}"
    )
    assert reason in str(problem.what)


#: Names of modules that settings select or leave out.
_MODULES = ("model.layers.1.self_attn.q_proj", "model.layers.11.mlp.experts.1.up_proj", "lm_head")


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["proj", "model.layers.1.self_attn.q_proj"]},
        {"target_modules": r".*\.layers\.1\..*"},
        {"target_modules": r"layers\.1\..*"},
        {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["up_proj"]},
        {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ".*experts.*"},
        {"target_modules": ["q_proj", "up_proj", "lm_head"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": 11},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": []},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
        {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": "h"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "(layers)"},
        {"target_modules": ["q_proj", "lm_head", "up_proj"], "modules_to_save": ["lm_head", "mlp"]},
    ],
)  # fmt: skip
def test_modules_are_selected_as_peft_selects_them(settings: dict[str, Any]) -> None:
    config = LoraConfig(**settings)
    expected = [
        bool(found) and not isinstance(found, _ExcludedModule)
        for found in (check_target_module_exists(config, module) for module in _MODULES)
    ]
    module_filter = ModuleFilter(settings)
    assert [module_filter.selects(module) for module in _MODULES] == expected


@pytest.mark.parametrize(
    "settings", [{"target_modules": "ALL-linear"}, {"target_modules": None}, {}]
)
def test_settings_without_names_select_every_module(settings: dict[str, Any]) -> None:
    module_filter = ModuleFilter(settings | {"exclude_modules": ["lm_head"]})
    assert [module_filter.selects(module) for module in _MODULES] == [True, True, False]


def test_settings_with_parameters_alone_select_no_module() -> None:
    module_filter = ModuleFilter(
        {"target_modules": None, "target_parameters": ["experts.gate_up_proj"]}
    )
    assert not any(module_filter.selects(module) for module in _MODULES)
