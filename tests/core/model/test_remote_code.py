"""Files of a model folder: Python code and when it may run, and the index of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.model import remote_code
from lora_studio.core.model.folders import INDEX, list_weight_files
from lora_studio.core.problems import ProblemError
from lora_studio.core.system import consent


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))


def write_model(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "modeling_own.py").write_text("raise SystemExit('it ran')")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("files", "has_code"),
    [
        pytest.param({"config": {}}, False, id="no reference"),
        pytest.param({"config": {"auto_map": {"AutoConfig": "modeling_own.C"}}}, True, id="config"),
        pytest.param(
            {"tokenizer_config": {"auto_map": {"AutoTokenizer": [None, "modeling_own.T"]}}},
            True,
            id="tokenizer",
        ),
        pytest.param(
            {"config": {"auto_map": {"AutoConfig": "someone/else--modeling.C"}}},
            False,
            id="code of another repository",
        ),
        pytest.param({"config": ["auto_map"]}, False, id="config of another kind"),
    ],
)
def test_code_is_found_by_the_references_to_it(
    tmp_path: Path, files: dict[str, Any], has_code: bool
) -> None:
    assert (remote_code.find_code(write_model(tmp_path / "m", **files)) is not None) is has_code


def test_setting_of_the_project_alone_allows_nothing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", config={"auto_map": {"AutoConfig": "modeling_own.C"}})
    assert remote_code.read_allowed(folder, requested=False) is None
    with pytest.raises(ProblemError) as raised:
        remote_code.read_allowed(folder, requested=True)
    (problem,) = raised.value.problems
    assert problem.code == "model.code_not_trusted"
    assert problem.where.file == str(folder)
    code = remote_code.find_code(folder)
    assert code is not None
    assert code.digest in str(problem.remedy)
    consent.trust(code)
    allowed = remote_code.read_allowed(folder, requested=True)
    assert allowed is not None
    assert {*allowed.contents} == {"modeling_own.py"}


def test_folder_with_more_code_than_a_model_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", config={"auto_map": {"AutoConfig": "modeling_own.C"}})
    for number in range(600):
        (folder / f"module_{number}.py").touch()
    with pytest.raises(ProblemError, match="more Python files"):
        remote_code.find_code(folder)


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
