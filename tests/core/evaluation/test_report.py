"""Reports: scores with intervals in one file that loads nothing, and a table for model cards."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lora_studio.core.chat import AdapterChatModel, FolderChatModel, GgufChatModel, OllamaChatModel
from lora_studio.core.evaluation import report, run_verdict, summary
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import create_item
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.evaluation.plan import EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.results import (
    ColumnReport,
    EvaluationFacts,
    EvaluationResults,
    ItemResult,
    Judgment,
)
from lora_studio.core.evaluation.run_verdict import AnswerScore, find_answer_score, find_run_verdict
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.messages import Text, text
from lora_studio.core.playground import Vote
from lora_studio.core.runs.chat_models import create_adapter_chat_model
from lora_studio.core.tasks.samples import Message

EVIL = '<script src="https://example.com/x.js"></script>|[a](https://example.com)'


class _Reader(HTMLParser):
    """Collects tags, addresses, and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def results(tmp_path: Path) -> EvaluationResults:
    """An evaluation of 40 rows: the base is right in 10, the merged model in 30; one answer is hostile."""
    run = tmp_path / "20261101-120000-Harbor"
    merged = Column(key="merged", title="Merged", model=FolderChatModel(folder=str(run / "merged")))
    plan = EvaluationPlan(columns=(Column(key="base", model=AdapterChatModel()), merged))
    items = [
        create_item(
            test_set="heldout", reference=f"{n}", messages=[Message(role="user", content=f"Question {n}?")],
        )
        for n in range(40)
    ]  # fmt: skip
    facts = EvaluationFacts(
        test_sets=(TestSetReport(key="heldout", title=text("Held-out rows"), items=40, trained=2),),
        metrics={"heldout": ("exact",)},
        columns=(
            ColumnReport(key="base", complete=True),
            ColumnReport(key="merged", complete=True),
        ),
    )
    found = EvaluationResults(run / "evaluations" / "20261101-130000", plan, facts, items)
    for number, item in enumerate(items):
        for column, right in (("base", 10), ("merged", 30)):
            answer = EVIL if number == 39 else f"{number}"
            found.answers[item.id, column] = ItemResult(
                item=item.id, column=column, answer=answer, scores={"exact": float(number < right)}
            )
    return found


def test_report_has_scores_intervals_and_the_verdict(results: EvaluationResults) -> None:
    reader = _Reader()
    reader.feed(report.build_report(results))
    words = " ".join(" ".join(reader.texts).split())
    shown = summary.summarize(results)
    mean = shown.means["heldout", "exact", "merged"]
    assert "75 %" in words
    assert summary.format_score("exact", mean.interval.low) in words
    assert str(shown.verdicts["heldout", "exact", "merged"].sentence) in words
    assert "2 rows were trained on and are left out." in words
    assert "Question 39?" in words


def test_report_shows_what_a_likelihood_chose(results: EvaluationResults) -> None:
    item = create_item(
        test_set="heldout", raw_prompt="Which floats?", choices=("stone", "cork"), correct=1
    )
    results.items = [item]
    results.answers = {
        (item.id, column): ItemResult(
            item=item.id, column=column, scores={"exact": 1.0}, logprobs=Logprobs(choices=(-9.0, -2.0))
        )
        for column in ("base", "merged")
    }  # fmt: skip
    results.facts = results.facts.model_copy(
        update={"test_sets": (*results.facts.test_sets, TestSetReport(key="playground"))}
    )
    document = report.build_report(results)
    assert "Most likely choice: cork" in document
    assert document.count("<table") == 2  # a test set without scores has no table
    assert "Compared with Base model" in document
    assert ",cork," in report.to_csv(results)
    exported = json.loads(report.to_json(results))
    assert exported["baseline"] == "base"
    assert exported["differences"][0]["finding"] == "too_few"


def test_report_loads_nothing_and_runs_nothing(results: EvaluationResults) -> None:
    document = report.build_report(results)
    reader = _Reader()
    reader.feed(document)
    assert "script" not in reader.tags
    assert reader.addresses == []
    assert EVIL in "".join(reader.texts)  # shown as text
    assert "default-src 'none'" in document
    assert not re.search(r"url\(|@import|<(img|link|iframe)", document)


def test_report_is_translated(results: EvaluationResults) -> None:
    def shout(message: Text) -> str:
        return str(message).upper()

    document = report.build_report(results, translate=shout, language="de")
    assert '<html lang="de">' in document
    for word in ("HELD-OUT ROWS", "METRIC", "QUESTION", "GREEDY ANSWERS", "BETTER: 25 %"):
        assert word in document


def test_card_section_has_intervals_and_escapes_names(results: EvaluationResults) -> None:
    results.plan = results.plan.model_copy(
        update={"columns": (results.plan.columns[0], results.plan.columns[1].model_copy(update={"title": EVIL}))}
    )  # fmt: skip
    section = report.build_card_section(results, {})
    lines = [line for line in section.splitlines() if line.startswith("| Held")]
    assert len(lines) == 2
    assert "25 %" in lines[0]
    assert "| 40 |" in lines[0]
    assert "Better: 25 % → 75 %" in lines[1].replace("\\", "")
    assert "<script" not in section.replace("\\<script", "")
    results.answers.clear()
    assert report.build_card_section(results, {}) == ""


@pytest.fixture
def compared(results: EvaluationResults) -> tuple[EvaluationResults, list[Vote]]:
    """The evaluation with a judge of a hostile name, 9 : 2 and a tie, and with three blind votes."""
    base, merged = results.plan.columns
    judge = JudgeSettings(model=OllamaChatModel(name=f"judge {EVIL}"), baseline="base")
    results.plan = results.plan.model_copy(update={"judge": judge})
    winners = [*["merged"] * 9, *["base"] * 2, "", None]
    results.judgments = [
        Judgment(item=item.id, first="base", second="merged", winner=winner)
        for item, winner in zip(results.items, winners, strict=False)
    ]
    votes = [
        Vote(prompt=f"Vote {n}?", names=("a", "b"), answers=("old", "new"), winner=winner, chat_models=(base.model, merged.model))
        for n, winner in enumerate((1, 1, None))
    ]  # fmt: skip
    return results, votes


_PREFERRED = (
    ["Merged", "Base model", "79 %", "53 %–93 %", "9", "1", "2", "1"],
    ["Merged", "Base model", "83 %", "31 %–98 %", "2", "1", "0", "0"],
)


def test_models_of_one_run_are_told_apart_by_name(results: EvaluationResults) -> None:
    run = results.folder.parent.parent
    models = {
        "base": AdapterChatModel(),
        "adapter": create_adapter_chat_model(run / "adapter"),
        "merged": FolderChatModel(folder=str(run / "merged")),
        "Q8_0": GgufChatModel(file=str(run / "gguf" / "Harbor-Q8_0.gguf")),
        "keeper": OllamaChatModel(name="keeper:latest"),
    }
    columns = tuple(Column(key=key, model=model) for key, model in models.items())
    results.plan = results.plan.model_copy(update={"columns": columns})
    names = ["Base model", "Adapter", "Merged model", "Q8_0", "Ollama: keeper:latest"]
    assert [column.name for column in columns] == names
    document = report.build_report(results)
    assert "".join(f"<th>{name}</th>" for name in names) in document
    assert "| Merged model |" in report.build_card_section(results, {})


def test_report_has_the_judge_and_the_votes(
    compared: tuple[EvaluationResults, list[Vote]],
) -> None:
    results, votes = compared
    document = report.build_report(results, votes)
    reader = _Reader()
    reader.feed(document)
    assert "script" not in reader.tags
    assert reader.addresses == []
    texts = [each for each in reader.texts if each.strip()]
    for who, cells in zip((f"Judge judge {EVIL}", "Blind votes in the Playground"), _PREFERRED, strict=True):  # fmt: skip
        at = texts.index(who)
        assert texts[at + 1 : at + 9] == cells
    words = "".join(reader.texts)
    for sentence, count in (("better than", 9), ("worse than", 2), ("as good as", 1)):
        assert words.count(f"Judge: {sentence} Base model") == count
    assert words.count("Judge: no verdict") == 1


def test_card_has_the_judge_and_the_votes(compared: tuple[EvaluationResults, list[Vote]]) -> None:
    results, votes = compared
    section = report.build_card_section(results, {}, votes)
    lines = [line.replace("\\", "") for line in section.splitlines()[-2:]]
    for who, cells, line in zip(("Judge judge", "Blind votes in the Playground"), _PREFERRED, lines, strict=True):  # fmt: skip
        assert line.startswith(f"| {who}")
        assert line.endswith("| " + " | ".join(cells) + " |")
    assert "<script" not in section.replace("\\<script", "")
    assert "Compared by" not in report.build_card_section(
        EvaluationResults(results.folder, results.plan, results.facts, results.items), {}
    )


def test_tables_have_the_judge_and_the_votes(
    compared: tuple[EvaluationResults, list[Vote]],
) -> None:
    results, votes = compared
    exported = json.loads(report.to_json(results, votes))
    judge, people = exported["preferences"]
    assert (judge["compared_by"], judge["judge"]) == ("judge", f"judge {EVIL}")
    assert (judge["wins"], judge["losses"], judge["ties"], judge["unknown"]) == (9, 2, 1, 1)
    assert (judge["share"], judge["finding"]) == (pytest.approx(9.5 / 12), "unclear")
    assert judge["interval"]["low"] == pytest.approx(0.53, abs=5e-3)
    assert (people["compared_by"], people["wins"], people["finding"]) == ("people", 2, "too_few")
    assert exported["votes"][0] == {
        "prompt": "Vote 0?", "column": "merged", "baseline": "base", "answer": "new", "winner": "merged",
    }  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(report.to_csv(results, votes))))
    judged = [(line["column"], line["compared_with"], line["preference"]) for line in lines if line["compared_by"] == f"judge {EVIL}"]  # fmt: skip
    assert len(judged) == 13
    assert judged.count(("merged", "base", "better")) == 9
    assert judged[-1] == ("merged", "base", "no verdict")
    assert [line["preference"] for line in lines if line["test_set"] == "blind_votes"] == ["better", "better", "tie"]  # fmt: skip
    assert [line["exact"] for line in lines][:2] == ["1.0", "1.0"]


def test_answer_score_is_that_of_the_tuned_model(results: EvaluationResults) -> None:
    found = find_answer_score(results, {})
    assert found == AnswerScore(0.75, "exact", "heldout")
    results.facts = results.facts.model_copy(update={"metrics": {"heldout": ("perplexity",)}})
    assert find_answer_score(results, {}) is None


def test_scores_of_a_changed_model_are_out_of_date(results: EvaluationResults) -> None:
    run = results.folder.parent.parent.name
    before = {"merged": {"model.safetensors": [10, 1]}}
    model = results.plan.columns[1].model
    reports = (
        ColumnReport(key="base", complete=True),
        ColumnReport(
            key="merged", complete=True, recorded=run_verdict.digest_model(model, run, before)
        ),
    )
    results.facts = results.facts.model_copy(update={"columns": reports, "finished": 1.0})
    assert find_answer_score(results, before) == AnswerScore(0.75, "exact", "heldout")
    assert "out of date" not in report.build_card_section(results, before)
    after = {"merged": {"model.safetensors": [10, 2]}}
    score = find_answer_score(results, after)
    assert score is not None
    assert score.is_outdated
    (line,) = [each for each in report.build_card_section(results, after).splitlines() if "Merged" in each]  # fmt: skip
    assert "Merged (out of date)" in line
    verdict = find_run_verdict(results, after)
    assert verdict is not None
    assert verdict.is_outdated
    assert str(verdict.difference and verdict.difference.sentence).startswith("Better: 25 % → 75 %")
    assert "Merged changed" in str(run_verdict.describe_outdated(results, ["merged"]))


def test_answer_score_needs_all_answers_of_the_runs_model(results: EvaluationResults) -> None:
    facts = results.facts
    results.facts = facts.model_copy(update={"columns": (ColumnReport(key="merged"),)})
    assert find_answer_score(results, {}) is None
    results.facts = facts
    base, merged = results.plan.columns
    other = merged.model_copy(update={"model": FolderChatModel(folder="/runs/another/merged")})
    results.plan = results.plan.model_copy(update={"columns": (base, other)})
    assert find_answer_score(results, {}) is None
