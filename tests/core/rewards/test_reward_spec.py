"""Settings of rewards: faults, names, paths, and their place in project files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.project import project
from lora_studio.core.project.access_requests import list_requests
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.rewards.spec import (
    TITLES,
    USED_FIELDS,
    RewardSpec,
    describe_reward,
    find_equal_title,
    find_fault,
    name_rewards,
)
from lora_studio.core.training.recipe_checks import check_for
from lora_studio.core.training.spec import TrainingSpec


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"kind": "regex"}, "Enter a regular expression."),
        ({"kind": "regex", "pattern": "("}, "The regular expression is invalid."),
        ({"kind": "length", "min_length": 9, "max_length": 3}, "shortest length"),
        ({"kind": "format", "tags": ()}, "at least one tag"),
        ({"kind": "format", "tags": ("a", "a")}, "listed twice"),
        ({"kind": "format", "tags": ("<a>",)}, "without brackets"),
        ({"kind": "exact", "answer_tag": "<a>"}, "without brackets"),
        ({"kind": "language", "language": "xx"}, "can't be recognized"),
        ({"kind": "judge"}, "name of the judge"),
        ({"kind": "judge", "model": "m", "address": "localhost"}, "begins with"),
        ({"kind": "judge", "model": "m", "address": "http://a:b@c"}, "Remove the password"),
        ({"kind": "judge", "model": "m", "address": "http://["}, "invalid"),
        ({"kind": "python"}, "Choose the Python file"),
        ({"kind": "python", "code_file": "a.py", "function": "a b"}, "name of a function"),
        ({"kind": "exact", "lowest": 1.0, "highest": 0.0}, "above the highest"),
        ({"kind": "exact", "name": "loss/token"}, "can't have a slash"),
        ({"kind": "exact", "name": "Two\nlines"}, "line break"),
        ({"kind": "exact", "name": " format "}, "reserved"),
        ({"kind": "exact", "name": "exact_2"}, "reserved"),
    ],
)
def test_incomplete_rewards_have_a_fault(settings: dict[str, Any], fault: str) -> None:
    found = find_fault(RewardSpec(**settings))
    assert found is not None
    assert fault in str(found)


def test_default_rewards_of_plain_kinds_have_no_fault() -> None:
    plain = ("exact", "number", "contains", "json_schema", "length", "format", "language")
    assert [find_fault(RewardSpec.model_validate({"kind": kind})) for kind in plain] == [None] * 7


@pytest.mark.parametrize(
    "name", ["Form\u3000A", "Form\u00a0A", "Format", "format_a", "exact match"]
)
def test_any_other_name_can_be_chosen(name: str) -> None:
    assert find_fault(RewardSpec(kind="exact", name=name)) is None


def test_each_field_belongs_to_a_kind() -> None:
    used = {field for fields in USED_FIELDS.values() for field in fields}
    assert used | {"kind"} == set(RewardSpec.model_fields)
    assert list(USED_FIELDS) == list(TITLES)


def test_names_are_unique() -> None:
    specs = [RewardSpec(kind="exact"), RewardSpec(kind="length"), RewardSpec(kind="exact")]
    assert name_rewards(specs) == ["exact", "length", "exact_2"]


def test_a_reward_has_its_own_name_or_that_of_its_kind() -> None:
    own = ("Right form", "", "exact_2", "", " Right form ", "exact")
    specs = [RewardSpec(kind="exact", name=name) for name in own]
    names = name_rewards(specs)
    assert names == ["Right form", "exact", "exact_2", "exact_3", "Right form_2", "exact_4"]
    titles = [str(describe_reward(name)) for name in names]
    assert titles[:4] == ["Right form", "Exact match", "Exact match 2", "Exact match 3"]


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (("", "", "Form"), ""),
        (("Form", "Form "), "Form"),
        (("", "Exact match"), "Exact match"),
        (("", "", "Exact match 2"), "Exact match 2"),
    ],
)
def test_two_rewards_with_one_title_are_refused(names: tuple[str, ...], title: str) -> None:
    rewards = tuple(RewardSpec(kind="exact", name=name) for name in names)
    assert str(find_equal_title(rewards) or "") == title
    problems = check_for("grpo", TrainingSpec(rewards=rewards))
    found = [each for each in problems if each.code == "training.reward_names_equal"]
    assert [title in str(each.what) for each in found] == [True] * bool(title)


def test_project_file_keeps_rewards_without_defaults(tmp_path: Path) -> None:
    rewards = (RewardSpec(kind="number", tolerance=0.5, lowest=-1.0), RewardSpec(kind="format"))
    saved = Project(name="p", training=TrainingSpec(rewards=rewards)).to_toml()
    file = tmp_path / "p.lorastudio"
    file.write_text(saved, "utf-8")
    assert '[[training.rewards]]\nkind = "format"\n\n' in saved
    assert project.load(file).freeze().training.rewards == rewards


def test_paths_of_rewards_are_relative_to_the_project(tmp_path: Path) -> None:
    draft = Draft(path=tmp_path / "p.lorastudio")
    draft.set("training", "rewards", [{"kind": "python", "code_file": "rate.py"}])
    spec = draft.get_spec("training")
    assert isinstance(spec, TrainingSpec)
    assert spec.rewards[0].code_file == str(tmp_path / "rate.py")


def test_a_foreign_project_asks_before_its_rewards_run(tmp_path: Path) -> None:
    draft = Draft(path=tmp_path / "p.lorastudio")
    draft.set("training", "rewards", [
        {"kind": "python", "code_file": "rate.py"},
        {"kind": "judge", "address": "https://example.org/v1", "model": "m"},
        {"kind": "judge", "address": "http://localhost:11434", "model": "m"},
        {"kind": "judge", "address": "http://localhost:1/v1", "key_variable": "AWS_SECRET"},
        {"kind": "json_schema", "schema_file": "/etc/schema.json"},
        "nonsense",
    ])  # fmt: skip
    asked = [(request.kind, request.target) for request in list_requests(draft)]
    assert asked == [
        ("code", "rate.py"),
        ("send", "judge https://example.org/v1"),
        ("send", "key AWS_SECRET http://localhost:1/v1"),
        ("read", "/etc/schema.json"),
    ]
