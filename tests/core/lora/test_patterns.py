"""Settings of foreign adapters: what PEFT writes passes, what could hang or no adapter has is refused."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from lora_studio.core import limits
from lora_studio.core.lora.adapters import check_pattern, check_settings
from lora_studio.core.problems import InvalidContentError

#: A long module name on which bad patterns take exponential time.
NAME = "model.layers.11.self_attn." + "a" * 40 + "!"


@pytest.mark.parametrize(
    "pattern",
    [
        "q_proj",
        "model.layers.0.self_attn.q_proj",
        r".*\.(q_proj|v_proj)",
        r"^(?!.*vision).*(?:q_proj|k_proj|v_proj).*$",
        r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj",
        # of Unsloth, for vision models
        r"(?:.*?(?:vision|image|visual|patch|language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
        r".*?(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\."
        r"[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|k_proj|v_proj|o_proj)))",
        # of LLaMA-Factory, with a frozen vision tower
        r"^(?!.*patch_embed)(?!.*visual).*(?:q_proj|v_proj).*",
        r"^(?!.*(?:vision_tower|multi_modal_projector)).*(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj).*",
    ],
)
def test_patterns_of_real_adapters_pass(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a*)*b", "(a|a)*b", "(a|aa)+$", "(.*a){25}", "([a-z]+.)+x", ".*.*.*.*.*.*x", "(?:a|b)*(.*)(.*)(.*)c", r"(a+)\1+",
     "(?:(?:a{1,100})+)+", "(?=(a+)+)b", "(a{20,})*", "x" * 3000, "(", "a{99999999999}", "(?P<a>" * 500],
    ids=lambda pattern: pattern[:20],
)  # fmt: skip
def test_pattern_that_could_take_long_is_refused_at_once(pattern: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match="pattern"):
        check_pattern(pattern)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("pattern", [r".*\.(q_proj|v_proj)", r".*a.*b.*!x"])
def test_patterns_that_pass_match_quickly(pattern: str) -> None:
    check_pattern(pattern)
    started = time.process_time()
    re.fullmatch(pattern, NAME * 5)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", ["rank_pattern", "alpha_pattern"])
def test_keys_of_tables_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="very long"):
        check_settings({name: {"(a+)+": 8}})


def test_lists_of_names_are_no_patterns() -> None:
    check_settings({"target_modules": ["(a+)+"], "rank_pattern": {}, "exclude_modules": None})
    with pytest.raises(ValueError, match="very long"):
        check_settings({"target_modules": "(a+)+"})


@pytest.mark.parametrize("name", ["rank_pattern", "alpha_pattern", "target_modules"])
def test_too_many_patterns_are_refused_unread(name: str) -> None:
    table: Any = {"(": 1} | {f"layers.{number}.q_proj": 1 for number in range(limits.PATTERNS)}
    table = table if name.endswith("pattern") else list(table)
    with pytest.raises(InvalidContentError, match=f"{name} has 20001 items, more than 20000"):
        check_settings({name: table})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lora_dropout", 2), ("lora_dropout", float("nan")), ("lora_dropout", "x"),
        ("layers_to_transform", [10**9]), ("layers_to_transform", -1),
        ("layer_replication", [[0, 10**9]]), ("layer_replication", [[0, 2]] * 1000),
        ("layer_replication", [[2, 0]]), ("layer_replication", [[0, 2, 4]]), ("layer_replication", 3),
    ],
)  # fmt: skip
def test_settings_that_no_adapter_has_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidContentError, match=f"the setting {name} is invalid"):
        check_settings({name: value})
