"""Evaluations on disk: partial lines, damage, order, and exports."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lora_studio.core import limits
from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.evaluation import report as report_module
from lora_studio.core.evaluation import storage
from lora_studio.core.evaluation.columns import Column, ServerModel
from lora_studio.core.evaluation.items import create_item, find_choices, make_ids_unique
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationFacts, ItemResult
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.problems import ProblemError
from lora_studio.core.tasks.samples import Message

BASE = Column(key="base", model=AdapterChatModel())
ITEMS = [
    create_item(
        test_set="heldout", messages=(Message(role="user", content=f"{n} + 1?"),), reference=str(n + 1)
    )
    for n in range(3)
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> EvaluationFolder:
    created = storage.create_evaluation(tmp_path / "evaluations", EvaluationPlan(columns=(BASE,)))
    created.write_items(ITEMS)
    report = TestSetReport(key="heldout", rows=3, items=3)
    created.write_facts(EvaluationFacts(test_sets=(report,), metrics={"heldout": ("exact",)}))
    with created.append(created.answers_file) as writer:
        for number, item in enumerate(ITEMS[:2]):
            writer.write(ItemResult(item=item.id, column="base", answer="=1", scores={"exact": number}))  # fmt: skip
    return created


def test_incomplete_line_is_skipped_and_ended_before_the_next(folder: EvaluationFolder) -> None:
    with folder.answers_file.open("ab") as file:
        file.write(b'{"item":"half')
    assert len(folder.read().answers) == 2
    with folder.append(folder.answers_file) as writer:
        writer.write(ItemResult(item=ITEMS[2].id, column="base", answer="3"))
    assert len(folder.read().answers) == 3


def test_later_line_replaces_an_earlier_one(folder: EvaluationFolder) -> None:
    with folder.append(folder.answers_file) as writer:
        writer.write(ItemResult(item=ITEMS[0].id, column="base", answer="new"))
    assert folder.read().answers[ITEMS[0].id, "base"].answer == "new"


def test_evaluations_are_listed_newest_first_and_found_by_name(folder: EvaluationFolder) -> None:
    evaluations = folder.path.parent
    newer = storage.create_evaluation(evaluations, EvaluationPlan(columns=(BASE,)))
    (evaluations / "notes").mkdir()
    assert storage.list_evaluations(evaluations) == [newer, folder]
    assert storage.open_evaluation(evaluations, folder.path.name) == folder
    for name in ("../..", "20990101-000000", ""):
        with pytest.raises(ProblemError, match="no evaluation named"):
            storage.open_evaluation(evaluations, name)


def test_files_with_the_names_before_metrics_are_read(folder: EvaluationFolder) -> None:
    folder.write_items([item.model_copy(update={"metric": "number"}) for item in ITEMS])
    for file in (folder.plan_file, folder.items_file, folder.facts_file):
        plain = file.read_text("utf-8").replace('"metrics": []', '"metrics": ["exact"]')
        old = plain.replace('"metrics":', '"measures":').replace('"metric":', '"measure":')
        assert old != plain, file.name
        file.write_text(old, "utf-8")
    read = folder.read()
    assert read.plan.metrics == ("exact",)
    assert read.facts.metrics == {"heldout": ("exact",)}
    assert {item.metric for item in read.items} == {"number"}


def test_damaged_plan_is_a_problem(folder: EvaluationFolder) -> None:
    folder.plan_file.write_text('{"columns": []}', "utf-8")
    with pytest.raises(ProblemError, match=r"plan\.json is damaged"):
        folder.read()
    assert storage.read_latest(folder.path.parent) is None


def test_exports_have_every_answer_and_the_means(folder: EvaluationFolder) -> None:
    results = folder.read()
    rows = list(csv.DictReader(io.StringIO(report_module.to_csv(results))))
    assert [(row["question"], row["reference"], row["exact"]) for row in rows] == [
        ("0 + 1?", "1", "0.0"),
        ("1 + 1?", "2", "1.0"),
    ]
    exported = json.loads(report_module.to_json(results))
    assert exported["means"] == {"heldout": {"exact": {"base": 0.5}}}
    assert len(exported["items"]) == 3
    assert not exported["complete"]


def test_equal_questions_have_equal_ids_in_every_evaluation() -> None:
    twins = [create_item(test_set="heldout", raw_prompt="Q", reference="A") for _ in range(2)]
    assert twins[0].id == twins[1].id
    assert [item.id for item in make_ids_unique(twins)] == [twins[0].id, f"{twins[0].id}-2"]


@pytest.mark.parametrize("address", ["example.org", "ftp://x/v1", "http://me:secret@x/v1"])
def test_server_address_is_checked(address: str) -> None:
    with pytest.raises(ValidationError):
        ServerModel(address=address, name="m")


def test_plan_refuses_two_columns_of_one_name() -> None:
    with pytest.raises(ValidationError, match="same key"):
        EvaluationPlan(columns=(BASE, BASE))


@pytest.mark.parametrize(
    ("question", "reference", "count"),
    [
        pytest.param("Which?\nA. red\nB. blue", "B. blue", 2, id="letters"),
        pytest.param("Which?\n1. red\n2. blue\n3. green", "3. green", 3, id="numbers"),
        pytest.param("Which?\nA. red\nB. blue", "blue", 0, id="reference without label"),
        pytest.param("A. Smith wrote it.", "A. Smith wrote it.", 0, id="one line"),
        pytest.param("Sort:\nC. x\nD. y", "C. x", 0, id="no first label"),
        pytest.param("", "", 0, id="empty"),
    ],
)
def test_choices_are_read_from_the_end_of_a_question(
    question: str, reference: str, count: int
) -> None:
    choices = find_choices(question, reference)
    assert len(choices) == count
    assert not count or reference in choices


@pytest.mark.parametrize("limit", ["EVALUATION_LINES", "EVALUATION_BYTES"])
def test_too_many_answers_are_refused_by_name(
    folder: EvaluationFolder, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, limit, 1)
    with pytest.raises(ProblemError, match=r"items\.jsonl is too large"):
        folder.read()
