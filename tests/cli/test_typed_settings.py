"""`--set`: misspelled settings are recognized, lists can be JSON, and the project file isn't blamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import project
from lora_studio.core.project.project import SETTINGS, Draft
from lora_studio.core.project.search_terms import SYNONYMS, suggest_settings


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    created = project.create(tmp_path, "x", {"training": {"epochs": 2.0, "learning_rate": 1e-4}})
    created.save()
    return project.load(tmp_path)


def refuse(draft: Draft, *overrides: str) -> Problem:
    """Return the only problem of some settings."""
    try:
        headless.apply_overrides(draft, overrides, Display())
    except ProblemError as error:
        problems = error.problems
    else:
        problems = [each for each in draft.list_problems() if each.severity == "error"]
    assert len(problems) == 1
    return problems[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("training.epoch", ["training.epochs"]),
        ("traning.epochs", ["training.epochs"]),
        ("epochs", ["training.epochs"]),
        ("training.lr", ["training.learning_rate"]),
        ("training.learnig_rate", ["training.learning_rate"]),
        ("training.rank", ["lora.rank"]),
        ("lora.r", ["lora.rank"]),
        ("lora.lora_alpha", ["lora.alpha"]),
        ("training.optimiser", ["training.optimizer"]),
        ("training.max-steps", ["training.max_steps"]),
        ("training.batch_size", ["training.gradient_accumulation", "training.micro_batch"]),
        ("training.zzz", []),
    ],
)
def test_unknown_names_suggest_the_settings_that_they_may_mean(
    typed: str, meant: list[str], draft: Draft
) -> None:
    assert suggest_settings(typed, SETTINGS) == meant
    problem = refuse(draft, f"{typed}=1")
    assert problem.code == "project.unknown_field"
    assert all(name in str(problem.remedy) for name in meant)


def test_every_synonym_of_a_setting_leads_to_it() -> None:
    missed = [
        (setting, term)
        for setting, terms in SYNONYMS.items()
        if setting in SETTINGS
        for term in terms.split()
        if "_" in term and setting not in suggest_settings(term, SETTINGS)
        and not any(term == name.partition(".")[2] for name in SETTINGS)
    ]  # fmt: skip
    # So many settings that only the first three are suggested.
    assert {term for _, term in missed} <= {"loss_type"}


def test_misspelled_settings_of_a_file_are_recognized(tmp_path: Path) -> None:
    project.create(tmp_path, "x", {"training": {"lr": 1e-4}}).save()
    (problem,) = project.load(tmp_path).list_problems()
    assert (problem.code, problem.where.field) == ("project.unknown_field", "lr")
    assert "training.learning_rate" in str(problem.remedy)
    assert problem.where.line


def test_value_of_an_option_is_not_blamed_on_the_file(draft: Draft) -> None:
    where = refuse(draft, "training.epochs=many").where
    assert (where.step, where.field, where.file, where.line) == ("training", "epochs", None, None)
    draft.set("training", "epochs", 1.0)
    (file,) = draft.folder.glob("*.lorastudio") if draft.folder else ()
    file.write_text(file.read_text().replace("learning_rate = 0.0001", 'learning_rate = "x"'))
    where = refuse(project.load(file), "training.epochs=1").where
    assert where.file == str(file)
    assert file.read_text().splitlines()[(where.line or 0) - 1] == 'learning_rate = "x"'


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ('training.rewards={"kind": "length", "max_length": 5}', [{"kind": "length", "max_length": 5}]),
        ('training.rewards=[{"kind": "exact"}, {"kind": "length"}]', [{"kind": "exact"}, {"kind": "length"}]),
        ('export.quantizations=["Q8_0", "F16"]', ["Q8_0", "F16"]),
        ("export.quantizations=Q8_0, F16", ["Q8_0", "F16"]),
        ('training.sample_prompts=["Hi, you", "[x]"]', ["Hi, you", "[x]"]),
        ("training.sample_prompts=[INST] Hi, you", ["[INST] Hi, you"]),
        ("lora.modules_to_save=[]", []),
    ],
)  # fmt: skip
def test_lists_are_json_or_separated_by_commas(override: str, value: Any, draft: Draft) -> None:
    headless.apply_overrides(draft, [override], Display())
    step, _, field = override.partition("=")[0].partition(".")
    assert draft.values[step][field] == value  # type: ignore[index]  # a step


@pytest.mark.parametrize(
    ("override", "code", "remedy"),
    [
        ("training.learning_rate=0,0002", "project.invalid_value", "0.0002"),
        ("training.epochs=1,5", "project.invalid_value", "1.5"),
        ("training.epochs=1,5,7", "project.invalid_value", "1000"),
        ("training.epochs=-1", "project.invalid_value", "1000"),
        ("training.packing=ja", "project.invalid_value", "true or false"),
        ("training.epochs", "project.no_value", "training.epochs=VALUE"),
        ('training.rewards=[{"kind":', "project.invalid_json", "single quotes"),
        ("export.quantizations=Q8_0,Q9_9", "project.invalid_value", "Q4_K_M"),
    ],
)
def test_unusable_values_are_refused(override: str, code: str, remedy: str, draft: Draft) -> None:
    problem = refuse(draft, override)
    assert problem.code == code
    assert remedy in str(problem.remedy)
