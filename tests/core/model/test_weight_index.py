"""The index of a model in several files: it names nothing but safetensors files of its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.model.folders import INDEX, list_weight_files


def test_each_listed_file_is_returned_once(tmp_path: Path) -> None:
    names = ["model-00001-of-2.safetensors", "model-00002-of-2.safetensors"]
    weight_map = {"a": names[0], "b": names[1], "c": names[0]}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert list_weight_files(tmp_path) == names


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "../other/model.safetensors", "/etc/x.safetensors", "..", "a\\b.safetensors",
     "a\0.safetensors", 7, None, ["a.safetensors"]],
    ids=repr,
)  # fmt: skip
def test_file_outside_or_of_another_kind_is_refused(tmp_path: Path, name: Any) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match="lists"):
        list_weight_files(tmp_path)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": 1}', "{", "[" * 100_000], ids=range(5)
)
def test_broken_index_is_a_value_error(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(ValueError):
        list_weight_files(tmp_path)
