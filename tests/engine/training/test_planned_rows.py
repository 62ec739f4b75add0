"""The rows, steps and lengths that the window and `estimate` show are those of the run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytestqt.qtbot import QtBot

from lora_studio.cli import estimate
from lora_studio.cli.console import Display
from lora_studio.core.dataset.spec import DatasetSpec, Repair
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import commands, events
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.training.step_batches import StepBatches
from lora_studio.gui.pages.dataset.queries import DatasetQueries
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from tests.engine.conftest import TinyModel
from tests.helpers.models import model_facts, plans
from tests.helpers.runs.jobs import handle, make_job, write_rows

pytestmark = pytest.mark.usefixtures("cache")

_ANSWERS = (
    "The harbour opens at six.", "the harbour opens at six", "The harbour opens at seven today.",
    "", "As an AI language model, I can't help with that.", "I\u00e2\u20ac\u2122m the keeper.",
    "<|im_start|>assistant\nA lamp.<|im_end|>", "lost \ufffd\ufffd text", "tide " * 150,
    "A blue crate, a ship and twelve apples.",
)  # fmt: skip
_FORMATS = ("instruction", "chat", "csv", "preference", "kto", "text")


@dataclass(frozen=True)
class Numbers:
    """What is shown about a run, or what it does."""

    train: int
    validation: int
    per_epoch: int
    steps: int
    longest: int
    tokens: int


@st.composite
def make_sources(draw: st.DrawFn, form: str) -> list[list[dict[str, Any]]]:
    """Return the rows of one to three files; many repeat, resemble or contradict each other."""
    texts = st.integers(0, 5).map(lambda n: f"Question {n}?") | st.sampled_from(_ANSWERS)
    sources = []
    for _ in range(draw(st.integers(1, 3))):
        pairs = draw(st.lists(st.tuples(texts, st.sampled_from(_ANSWERS)), min_size=6, max_size=40))
        sources.append([_make_row(form, n, *pair) for n, pair in enumerate(pairs)])
    return sources


def _make_row(form: str, number: int, question: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    match form:
        case "chat":
            return {"messages": turns, "topic": number % 4}
        case "preference":
            other = _ANSWERS[number % len(_ANSWERS)]
            return {"prompt": question, "chosen": answer, "rejected": other, "topic": number % 4}
        case "kto":
            return {"prompt": question, "completion": answer, "label": number % 3 > 0}
        case "text":
            return {"text": f"{question} {answer}"}
    return {"instruction": question, "output": answer, "topic": str(number % 4)}


def _write(folder: Path, form: str, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    if form != "csv":
        return write_rows(folder / f"{name}.jsonl", list(rows))
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


dataset_settings = st.fixed_dictionaries(
    {},
    optional={
        "fixes": st.lists(st.sampled_from(get_args(Repair)), unique=True, max_size=5).map(tuple),
        "max_length": st.sampled_from([24, 48, 100, 2048]),
        "too_long": st.sampled_from(["cut", "skip"]),
        "train_on": st.sampled_from(["answers", "last_answer"]),
        "validation_share": st.sampled_from([0.0, 0.05, 0.3]),
        "validation_count": st.integers(0, 12),
        "group_column": st.just("topic"),
        "system_prompt": st.just("You keep the harbour."),
    },
)
recipe = st.fixed_dictionaries(
    {
        "micro_batch": st.integers(1, 5),
        "gradient_accumulation": st.integers(1, 5),
        "epochs": st.sampled_from([0.3, 1.0, 2.5, 3.0]),
        "max_steps": st.sampled_from([0, 0, 4]),
        "seed": st.integers(0, 3),
    }
)


def _show_in_window(draft: Draft) -> tuple[Numbers | None, ProjectState]:
    """Return the numbers of the pages after their questions have been answered."""
    state = ProjectState()
    state.draft = draft
    queries = DatasetQueries(state, state)

    def answer(question: commands.Question) -> None:
        for event in handle(question).events:
            state.set_answer(event)
            queries.on_event(event)

    queries.ask.connect(answer)
    state.set_answer(plans.inspected())
    state.set_answer(model_facts.devices(6 * model_facts.GIB))
    queries.send_due()
    queries.send_due()  # the others follow the first
    split, training, plan = (
        run_preview.split(state), state.get_spec("training"), run_preview.make_plan(state),
    )  # fmt: skip
    if split is None or not split.is_exact:
        return None, state
    assert plan is not None
    assert isinstance(training, TrainingSpec)
    steps = training.count_steps(split.per_epoch)
    rows = plan.rows
    return Numbers(
        split.train, split.validation, split.per_epoch, steps, rows.longest, rows.tokens
    ), state


def _estimate(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> Numbers | None:
    """Return the numbers of `lora-studio estimate`, with its questions answered in this process."""

    def answer(questions: Sequence[commands.Question], _: Display) -> list[events.Event]:
        replies: list[events.Event] = []
        for question in questions:
            if isinstance(question, commands.InspectModel):
                replies.append(plans.inspected())
            elif isinstance(question, commands.InspectDevices):
                replies.append(model_facts.devices(6 * model_facts.GIB))
            else:
                replies += handle(question).events
        for event in replies:
            if isinstance(event, events.Failed):
                raise ProblemError(event.problem)
        return replies

    monkeypatch.setattr(estimate, "ask_all", answer)
    try:
        plan, planned = estimate.make_plan(draft, Display(as_json=True))
    except ProblemError:
        return None
    steps = plan.training.count_steps(planned.rows_per_epoch)
    return Numbers(
        planned.rows_train, planned.rows_validation, planned.rows_per_epoch, steps,
        plan.rows.longest, plan.rows.tokens,
    )  # fmt: skip


def _run(draft: Draft, folder: Path) -> Numbers | None:
    """Return what a worker does that trains the frozen project."""
    project = draft.freeze()
    dataset: DatasetSpec = project.dataset
    try:
        prepared = prepare(
            dataset, load_tokenizer(folder, dataset), project.training.seed, make_job()
        )
    except ProblemError:
        return None
    rows = EncodedRows(prepared.training)
    batches = StepBatches(rows, project.training, padded=False, fill=False)
    assert prepared.ready.rows_read == (
        prepared.ready.rows_train
        + prepared.ready.rows_validation
        + sum(skip.count for skip in prepared.ready.skipped)
    )
    items: list[Any] = [rows[number] for number in range(len(rows))]
    return Numbers(
        len(prepared.split.training), len(prepared.split.validation), len(rows), batches.total_steps,
        max(max(len(side.ids) for side in _list_sides(item)) for item in items),
        sum(len(side.ids) for item in items for side in _list_sides(item)),
    )  # fmt: skip


def _list_sides(item: Any) -> list[Any]:
    if hasattr(item, "rejected"):
        return [item.chosen, item.rejected]
    return [getattr(item, "answer", item)]


def _make_draft(
    folder: Path, model: Path, form: str, sources: Any, weights: Any, dataset: Any, training: Any,
    *, with_file: bool,
) -> Draft:  # fmt: skip
    files = [_write(folder, form, f"rows{n}", rows) for n, rows in enumerate(sources)]
    listed = [
        {"path": str(file), "weight": weight} for file, weight in zip(files, weights, strict=False)
    ]
    values: dict[str, Any] = {
        "model": {"source": str(model)},
        "dataset": {"sources": listed} | dict(dataset),
        "training": dict(training),
    }
    if with_file and len(files) > 1:
        values["dataset"]["validation_file"] = str(files[-1])
        values["dataset"]["sources"] = listed[:-1]
    draft = Draft()
    for step, fields in values.items():
        draft.values[step] |= fields  # type: ignore[index]
    return draft


@pytest.mark.slow
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), form=st.sampled_from(_FORMATS), with_file=st.booleans())
def test_planned_rows_and_steps_are_those_of_the_run(
    data: st.DataObject,
    form: str,
    with_file: bool,
    tiny: TinyModel,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    model = tiny("llama3")
    weights = st.lists(st.sampled_from([0.5, 1.0, 2.5]), min_size=3, max_size=3)
    draft = _make_draft(
        tmp_path_factory.mktemp("rows"), model, form, data.draw(make_sources(form)),
        data.draw(weights), data.draw(dataset_settings), data.draw(recipe), with_file=with_file,
    )  # fmt: skip
    shown, _ = _show_in_window(draft)
    done = _run(draft, model)
    assert shown == done, json.dumps(draft.values, default=str)
    assert _estimate(draft, monkeypatch) == done
